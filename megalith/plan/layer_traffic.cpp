#include "megalith/plan/layer_traffic.h"

#include <algorithm>
#include <set>

#include "megalith/parallel/context/zigzag.h"

namespace megalith {
namespace {

// Of what products in pieces hide: the rest is sums of terms and products that are small. Two H200s gained
// 34.9 ms of 41.7 (docs/benchmarks/h200_ranks.md).
constexpr double kHiddenBySplitting = 0.84;
// Of what goes round beside attention: two H200s gained 10.0 ms of 11.5 (the same place).
constexpr double kHiddenByRing = 0.87;

double microbatch_tokens(const RunConfig& config, const MeshShape& shape) {
  return static_cast<double>(config.train.micro_batch_size * config.data.seq_length) / shape.cp;
}

double element_bytes(const RunConfig& config) {
  return static_cast<double>(size_of(config.model.dtype()));
}

bool puts_weight_gradients_off(const ParallelConfig& parallel) {
  const std::string& schedule = parallel.pipeline_schedule;
  return parallel.pipeline_model_parallel_size > 1 &&
         (schedule.starts_with("zb-") || schedule == "dualpipev");
}

// The most other ranks whose keys a rank's queries see under a window (-1: none).
int most_partners(const Zigzag& zigzag, int64_t window) {
  if (window < 0) return zigzag.ranks - 1;
  const int chunks = 2 * zigzag.ranks;
  // Chunks before a query's own of which its first token sees the last one.
  const auto reach =
      static_cast<int>(std::min<int64_t>((window + zigzag.chunk() - 1) / zigzag.chunk(), chunks));
  size_t most = 0;
  for (int rank = 0; rank < zigzag.ranks; ++rank) {
    std::set<int> partners;
    for (const int half : {0, 1}) {
      const int own = zigzag.chunk_of(rank, half);
      for (int chunk = std::max(own - reach, 0); chunk < own; ++chunk)
        partners.insert(std::min(chunk, chunks - 1 - chunk));
    }
    partners.erase(rank);
    most = std::max(most, partners.size());
  }
  return static_cast<int>(most);
}

// Ranks of a ring that a layer's keys go to, the mean over the layers.
double ring_partners(const RunConfig& config, int ranks) {
  const ParallelConfig& parallel = config.parallel;
  if (parallel.hybrid_context_parallel) {
    int64_t wanted = 1;
    while (wanted < ranks && wanted * parallel.max_seqlen_per_dp_cp_rank < config.data.seq_length)
      wanted *= 2;
    return static_cast<double>(std::min<int64_t>(wanted, ranks) - 1);
  }
  const Zigzag zigzag{.ranks = ranks, .seq = config.data.seq_length};
  const std::vector<int64_t> windows = config.model.attention_windows();
  double partners = 0;
  for (const int64_t window : windows) partners += most_partners(zigzag, window);
  return partners / static_cast<double>(std::max<size_t>(windows.size(), 1));
}

class Sum {
 public:
  explicit Sum(const Link& link) : link_(link) {}
  void forward(Transfer kind, double count, double bytes) {
    traffic_.forward_bytes += count * wire_bytes(kind, bytes, link_.ranks);
    traffic_.forward_seconds += count * collective_seconds(kind, bytes, link_);
  }
  void backward(Transfer kind, double count, double bytes) {
    traffic_.backward_bytes += count * wire_bytes(kind, bytes, link_.ranks);
    traffic_.backward_seconds += count * collective_seconds(kind, bytes, link_);
  }
  void hidden_forward(Transfer kind, double count, double bytes, double share) {
    forward(kind, count, bytes);
    traffic_.hidden_forward_seconds += share * count * collective_seconds(kind, bytes, link_);
  }
  void hidden_backward(Transfer kind, double count, double bytes, double share) {
    backward(kind, count, bytes);
    traffic_.hidden_backward_seconds += share * count * collective_seconds(kind, bytes, link_);
  }
  InlineTraffic traffic() const { return link_.ranks > 1 ? traffic_ : InlineTraffic{}; }

 private:
  Link link_;
  InlineTraffic traffic_;
};

}  // namespace

InlineTraffic tensor_traffic(const RunConfig& config, const MeshShape& shape, const Link& link) {
  const double stream = microbatch_tokens(config, shape) * static_cast<double>(config.model.hidden_size) *
                        element_bytes(config);
  Sum sum(link);
  const double behind_products = puts_weight_gradients_off(config.parallel) ? 0 : 1;
  if (!config.parallel.sequence_parallel) {
    sum.forward(Transfer::kAllReduce, 2, stream);
    sum.hidden_backward(Transfer::kAllReduce, 2, stream, behind_products);
    return sum.traffic();
  }
  const double split = config.parallel.tp_comm_overlap ? kHiddenBySplitting : 0;
  sum.hidden_forward(Transfer::kAllGather, 2, stream, split);
  sum.hidden_forward(Transfer::kReduceScatter, 2, stream, split);
  sum.hidden_backward(Transfer::kAllGather, 2, stream, split);            // gradients of sums
  sum.hidden_backward(Transfer::kAllGather, 2, stream, behind_products);  // inputs, once more
  sum.hidden_backward(Transfer::kReduceScatter, 2, stream, std::max(behind_products, split));
  return sum.traffic();
}

InlineTraffic context_traffic(const RunConfig& config, const MeshShape& shape, const Link& link) {
  const GptConfig& model = config.model;
  const double tokens = microbatch_tokens(config, shape) * element_bytes(config);
  const double q = tokens * static_cast<double>(model.head_dim() * model.num_attention_heads) / shape.tp;
  const double kv = tokens * 2 * static_cast<double>(model.head_dim() * model.query_groups()) / shape.tp;
  Sum sum(link);
  const double beside = config.parallel.cp_comm_overlap ? kHiddenByRing : 0;
  const std::string& kind = config.parallel.cp_comm_type;
  if (kind == "a2a+p2p") {
    const auto inner = static_cast<double>(config.parallel.hierarchical_context_parallel_sizes[0]);
    const double groups = link.ranks / inner;
    sum.forward(Transfer::kAllToAll, 1, 2 * q + kv);
    sum.backward(Transfer::kAllToAll, 1, 2 * q + kv);
    sum.hidden_forward(Transfer::kPeer, groups - 1, kv, beside);  // a group's tokens, its share of the heads
    sum.hidden_backward(Transfer::kPeer, groups - 1, 3 * kv, beside);
  } else if (kind == "p2p") {
    const double others = ring_partners(config, link.ranks);
    sum.hidden_forward(Transfer::kPeer, others, kv, beside);
    sum.hidden_backward(Transfer::kPeer, others, 3 * kv, beside);  // the gradients travel in f32
  } else if (kind == "a2a") {
    sum.forward(Transfer::kAllToAll, 1, 2 * q + kv);
    sum.backward(Transfer::kAllToAll, 1, 2 * q + kv);
  } else {
    sum.forward(Transfer::kAllGather, 1, kv * link.ranks);
    sum.backward(Transfer::kAllGather, 1, kv * link.ranks);
    sum.backward(Transfer::kReduceScatter, 1, kv * link.ranks);
  }
  return sum.traffic();
}

InlineTraffic expert_traffic(const RunConfig& config, const MeshShape& shape, const Link& link) {
  const double rows = config.parallel.sequence_parallel ? shape.tp : 1;
  const double stream = microbatch_tokens(config, shape) / rows *
                        static_cast<double>(config.model.hidden_size) * element_bytes(config);
  const double copies = stream * ranks_of_token(config.model.moe, link.ranks);
  Sum sum(link);
  if (config.model.moe.token_dispatcher_type == "allgather") {
    sum.forward(Transfer::kAllGather, 1, stream * link.ranks);
    sum.forward(Transfer::kReduceScatter, 1, stream * link.ranks);
    sum.backward(Transfer::kAllGather, 1, stream * link.ranks);
    sum.backward(Transfer::kReduceScatter, 1, stream * link.ranks);
  } else {
    sum.forward(Transfer::kAllToAll, 2, copies);
    sum.backward(Transfer::kAllToAll, 2, copies);
  }
  return sum.traffic();
}

double ranks_of_token(const MoeConfig& moe, int ranks) {
  const auto experts = static_cast<double>(moe.num_experts), others = experts - experts / ranks;
  double misses = 1;  // probability that none of its experts is at a rank
  for (int64_t i = 0; i < moe.router_topk; ++i) {
    const auto chosen = static_cast<double>(i);
    misses *= std::max(others - chosen, 0.0) / (experts - chosen);
  }
  return ranks * (1 - misses);
}

}  // namespace megalith
