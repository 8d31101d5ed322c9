#include "megalith/plan/stage_work.h"

#include <algorithm>

#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/plan/layer_traffic.h"
#include "megalith/plan/rank_memory.h"

namespace megalith {
namespace {

int64_t mlp_matrices(const GptConfig& model, int64_t width) {
  return model.hidden_size * width * (is_gated(model.activation()) ? 3 : 2);
}

// Work of one token in one layer, on one rank: FLOPs of a forward, and bytes.
struct TokenWork {
  double product_flops = 0;  // of large products that take as long
  double attention_flops = 0;
  double forward_bytes = 0, backward_bytes = 0;
};

// FLOPs of large products that take as long as those of a token's experts, by which they are more.
double expert_setup_flops(const RunConfig& config, const MeshShape& shape, const Cluster& cluster) {
  const GptConfig& model = config.model;
  const auto h = static_cast<double>(model.hidden_size);
  const double width = static_cast<double>(model.expert_ffn_size()) / shape.etp;
  const double ways_in = is_gated(model.activation()) ? 2 : 1;
  // A product of contraction k takes (k + setup) / k of its time: k is h on the way in, width on the way out.
  const double longer = cluster.expert_product_setup * (ways_in / h + 1 / width) / (ways_in + 1);
  return longer * 2 *
         static_cast<double>(model.moe.router_topk * mlp_matrices(model, model.expert_ffn_size()));
}

TokenWork token_work(const RunConfig& config, const MeshShape& shape, const Cluster& cluster,
                     bool has_experts, int64_t window) {
  const GptConfig& model = config.model;
  const auto tp = static_cast<double>(shape.tp);
  const auto h = static_cast<double>(model.hidden_size);
  const auto q = static_cast<double>(model.head_dim() * model.num_attention_heads);
  const auto kv = static_cast<double>(model.head_dim() * model.query_groups());
  const MoeConfig& moe = model.moe;
  const auto width = static_cast<double>(has_experts ? moe.router_topk * model.expert_ffn_size() +
                                                           moe.shared_expert_intermediate_size
                                                     : model.ffn_size());
  const double gate = is_gated(model.activation()) ? 2 : 1;
  const auto bytes = static_cast<double>(size_of(model.dtype()));
  // Rows that tensor parallelism without sequence parallelism leaves whole on every rank.
  const double rows = config.parallel.sequence_parallel ? tp : 1;
  TokenWork work;
  work.product_flops = 2 * static_cast<double>(layer_size(model, has_experts).active) / tp;
  work.attention_flops = 4 * q / tp * mean_visible_keys(config.data.seq_length, window);
  // Two norms (read, write) and two residual sums (two reads, a write, or where the ranks do not share them a
  // product's reading of the residual); rotary q and k; the activation.
  const double sums = tp == 1 ? 2 : 6;
  work.forward_bytes = bytes * ((4 + sums) * h / rows + 2 * (q + kv) / tp + (gate + 1) * width / tp);
  // Norm backward reads x, dy and the residual's gradient and writes dx; the activation reads its input
  // and dy and writes the input's gradient.
  work.backward_bytes = bytes * (12 * h / rows + 2 * (q + kv) / tp + (2 * gate + 1) * width / tp);
  if (model.softmax() != SoftmaxType::kVanilla) {  // out is scaled; out and its gradient are read
    work.forward_bytes += 2 * bytes * q / tp;
    work.backward_bytes += 2 * bytes * q / tp;
  }
  if (model.qk_layernorm) {  // x is kept, y written over it; the backward reads two and writes one
    const double norms = 3 * bytes * (q + kv) / tp;
    work.forward_bytes += norms;
    work.backward_bytes += norms;
  }
  if (has_experts) {
    work.product_flops += expert_setup_flops(config, shape, cluster) / tp;
    // Rows are copied out to the experts and back, with their gradients.
    const double copies = 4 * static_cast<double>(moe.router_topk) * h / rows * bytes;
    work.forward_bytes += copies;
    work.backward_bytes += copies;
    // Rows that travel beside other work are packed and taken out again, both ways.
    if (shape.ep > 1 &&
        (config.parallel.overlap_moe_expert_parallel_comm || config.parallel.moe_shared_expert_overlap)) {
      const double packing = 4 * ranks_of_token(moe, shape.ep) * h / rows * bytes;
      work.forward_bytes += packing;
      work.backward_bytes += packing;
    }
  }
  return work;
}

}  // namespace

LayerSize layer_size(const GptConfig& model, bool has_experts) {
  const int64_t h = model.hidden_size;
  const int64_t q = model.head_dim() * model.num_attention_heads,
                kv = model.head_dim() * model.query_groups();
  const int64_t norm = model.norm_kind() == NormKind::kLayerNorm ? 2 * h : h;
  const bool has_qkv_bias = model.add_bias_linear || model.add_qkv_bias;
  const int64_t attention = h * (q + 2 * kv) + q * h;
  LayerSize size{.sharded = attention, .replicated = 2 * norm, .active = attention};
  if (has_experts) {
    const int64_t shared = mlp_matrices(model, model.moe.shared_expert_intermediate_size);
    const int64_t expert = mlp_matrices(model, model.expert_ffn_size());
    const int64_t router = model.moe.num_experts * h;
    size.sharded += shared;
    size.replicated += router;
    size.experts = model.moe.num_experts * expert;
    size.active += shared + router + model.moe.router_topk * expert;
  } else {
    size.sharded += mlp_matrices(model, model.ffn_size());
    size.active = size.sharded;
  }
  if (has_qkv_bias) size.sharded += q + 2 * kv;
  if (model.softmax() == SoftmaxType::kLearnable) size.sharded += model.num_attention_heads;
  if (model.add_bias_linear) {
    size.replicated += 2 * h;
    size.sharded += model.ffn_size() * (is_gated(model.activation()) ? 2 : 1);
  }
  return size;
}

StageWork stage_work(const RunConfig& config, const MeshShape& shape, const StageLayers& stage,
                     const Cluster& cluster) {
  const GptConfig& model = config.model;
  const double tokens =
      static_cast<double>(config.train.micro_batch_size * config.data.seq_length) / shape.cp;
  const double product = 1 / (cluster.matmul_tflops * 1e12);
  const double memory = 1 / (cluster.memory_gb_per_s * 1e9);

  const std::vector<int64_t> windows = model.attention_windows();
  StageWork work;
  double offloaded = 0;  // bytes of a token
  for (int64_t layer = stage.first; layer < stage.first + stage.count; ++layer) {
    const TokenWork token =
        token_work(config, shape, cluster, has_experts(model, layer), windows[static_cast<size_t>(layer)]);
    const double forward = tokens * (token.product_flops * product +
                                     token.attention_flops / (cluster.attention_forward_tflops * 1e12) +
                                     token.forward_bytes * memory);
    work.forward += forward;
    work.backward_input +=
        tokens * (token.product_flops * product +
                  2.5 * token.attention_flops / (cluster.attention_backward_tflops * 1e12) +
                  token.backward_bytes * memory);
    work.backward_weight += tokens * token.product_flops * product;
    const bool is_full = config.train.recompute_granularity == "full";
    if (is_full) work.backward_input += forward;
    if (is_on_host(config, stage, layer))
      offloaded +=
          static_cast<double>(is_full ? model.hidden_size * static_cast<int64_t>(size_of(model.dtype()))
                                      : layer_bytes(config, shape, has_experts(model, layer)));
  }
  const double copies = tokens * offloaded / (cluster.host_gb_per_s * 1e9);
  work.forward = std::max(work.forward, copies);
  work.backward_input = std::max(work.backward_input, copies - work.backward_weight);
  const auto h = static_cast<double>(model.hidden_size);
  const auto bytes = static_cast<double>(size_of(model.dtype()));
  if (stage.has_embedding) {
    work.forward += tokens * 2 * h * bytes * memory;
    // Rows of the table's gradient are read and written.
    const auto sums = 2 * static_cast<double>(size_of(config.optim.gradient_dtype()));
    work.backward_weight += tokens * h * (bytes + sums) * memory;
  }
  if (stage.has_loss) {
    const double vocab = static_cast<double>(model.padded_vocab_size()) / shape.tp;
    work.forward += tokens * (3 * 2 * h * vocab * product + 3 * vocab * bytes * memory);
  }
  return work;
}

}  // namespace megalith
