// Rows of experts that are read from the memory of peers: the bits of the exchange through NCCL, also where
// both run beside compute.
#include <algorithm>
#include <limits>

#include <gtest/gtest.h>

#include "megalith/autograd/functions/weighted_activation.h"
#include "megalith/ops/elementwise.h"
#include "megalith/parallel/expert/token_dispatcher.h"

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

struct Case {
  const char* name;
  DType dtype;
  int64_t tokens, hidden, topk, num_experts, rows_per_expert;
  bool has_dropped;
  double rank_capacity_factor = 0;
};

// What a rank had at its experts and got back, and the gradients.
using Results = std::vector<std::vector<double>>;

double random_at(uint64_t seed, int64_t i) {
  return static_cast<double>(RngKey{seed, 1}.bits(static_cast<uint64_t>(i)) % 2001) / 1000 - 1;
}

Tensor random_on(const GpuRank& rank, const Shape& shape, DType dtype, uint64_t seed) {
  std::vector<float> values;
  for (int64_t i = 0; i < shape.numel(); ++i)
    values.push_back(static_cast<float>(random_at(seed + 100 * static_cast<uint64_t>(rank.rank()), i)));
  const Tensor f32 = rank.exec.from_host(std::span<const float>(values), shape);
  const Tensor x = rank.exec.empty(shape, dtype);
  copy(f32, x, rank.exec);
  return x;
}

// What takes memory and writes to it while rows travel.
void scribble(Exec& exec, const std::vector<Tensor>& as) {
  for (const Tensor& tensor : as)
    for (const int64_t factor : {1, 2, 4}) {
      const Tensor other = exec.empty({factor * tensor.dim(0), tensor.dim(1)}, tensor.dtype());
      fill(other, std::numeric_limits<double>::quiet_NaN(), exec);
    }
}
class ScribbleNode : public Node {
 public:
  explicit ScribbleNode(std::vector<Tensor> as) : as_(std::move(as)) {}
  const char* name() const override { return "scribble"; }
  bool is_mark() const override { return true; }
  void backward_input(Tape& tape) override { scribble(tape.exec(), as_); }

 private:
  std::vector<Tensor> as_;
};

Results run(const GpuRank& rank, const Case& c, bool overlaps) {
  const Mesh mesh(rank.world, ParallelConfig{.expert_model_parallel_size = rank.world.size(),
                                             .moe_shared_expert_overlap = overlaps});
  const TokenDispatcher dispatcher(DispatcherKind::kAllToAll, c.num_experts, mesh);
  Exec& exec = rank.exec;
  std::vector<int32_t> experts;
  for (int64_t t = 0; t < c.tokens; ++t) {
    // Different experts of one token; expert 1 gets nothing where choices are dropped.
    const auto first =
        static_cast<int64_t>(1000 * (random_at(7 + static_cast<uint64_t>(rank.rank()), t) + 1));
    for (int64_t k = 0; k < c.topk; ++k) {
      const auto expert = static_cast<int32_t>((first + 3 * k) % c.num_experts);
      experts.push_back(c.has_dropped && (expert == 1 || (t + k) % 5 == 0) ? -1 : expert);
    }
  }
  const Shape choices{c.tokens, c.topk};
  Results results;
  const Tensor dropped = exec.zeros({1}, DType::kF64);
  for (int round = 0; round < 3; ++round) {  // memory is used again
    Tape tape(exec);
    const Var x = tape.leaf(random_on(rank, {c.tokens, c.hidden}, c.dtype, 1 + static_cast<uint64_t>(round)));
    const Var probs = tape.leaf(random_on(rank, choices, c.dtype == DType::kF64 ? c.dtype : DType::kF32, 11));
    DispatchedTokens sent =
        dispatcher.begin_dispatch(tape, x,
                                  {.probs = probs,
                                   .experts = exec.from_host(std::span<const int32_t>(experts), choices),
                                   .rows_per_expert = c.rows_per_expert,
                                   .has_dropped = c.has_dropped,
                                   .rank_capacity_factor = c.rank_capacity_factor,
                                   .dropped = dropped});
    scribble(exec, {x.data, sent.x.data});
    tape.record<ScribbleNode>(std::vector<Tensor>{x.data, sent.x.data});
    sent = dispatcher.end_dispatch(tape, std::move(sent));
    const Var y = weighted_activation(tape, sent.x, sent.probs, ActivationKind::kSilu,
                                      sent.offsets.slice(0, sent.offsets.dim(0) - 1, sent.offsets.dim(0)));
    const Var begun = dispatcher.begin_combine(tape, y, sent.plan);
    scribble(exec, {x.data, sent.x.data});
    tape.record<ScribbleNode>(std::vector<Tensor>{x.data, sent.x.data});
    const Var combined = dispatcher.end_combine(tape, begun, sent.plan);
    tape.backward(combined, random_on(rank, combined.data.shape(), c.dtype, 21));
    const int64_t rows = to_vector<int64_t>(sent.offsets).back();  // behind them lies what nobody reads
    for (const Tensor& tensor :
         {sent.x.data.slice(0, 0, rows), sent.probs.data.slice(0, 0, rows), sent.offsets, combined.data,
          tape.gradient(x), tape.gradient(probs), dropped})
      results.push_back(to_vector<double>(tensor));
  }
  return results;
}

// With room for an even load some ranks drop choices, with much more none.
void expect_dropped(const Case& c, const std::vector<Results>& of_ranks) {
  double dropped = 0;
  for (const Results& results : of_ranks) dropped += results.back()[0];
  EXPECT_EQ(dropped > 0, c.rank_capacity_factor == 1) << c.name << " drops " << dropped;
}

TEST(GpuPeerRows, HaveTheBitsOfTheExchange) {
  MG_NEED_GPUS(2);
  const Case cases[] = {{"bf16", DType::kBF16, 513, 256, 4, 16, 0, false},
                        {"odd width", DType::kF32, 77, 37, 2, 8, 0, false},
                        {"dropped", DType::kBF16, 300, 1160, 3, 8, 0, true},
                        {"padded", DType::kF32, 40, 64, 2, 8, 50, true},
                        {"one token", DType::kF64, 1, 8, 1, 4, 0, false},
                        {"room for all", DType::kBF16, 513, 256, 4, 16, 0, false, 4.0},
                        {"room for some", DType::kBF16, 513, 256, 3, 8, 0, false, 1.0},
                        {"room and dropped", DType::kF32, 120, 37, 2, 8, 0, true, 2.0}};
  for (const int num_ranks : {2, 4}) {
    if (cuda_device_count() < num_ranks) continue;
    for (const Case& c : cases) {
      std::vector<std::vector<Results>> all;
      for (const BesideTransport transport : {BesideTransport::kCopyEngines, BesideTransport::kNccl})
        for (const bool overlaps : {false, true}) {
          std::vector<Results>& of_ranks = all.emplace_back(static_cast<size_t>(num_ranks));
          on_gpus(
              num_ranks,
              [&](const GpuRank& rank) {
                of_ranks[static_cast<size_t>(rank.rank())] = run(rank, c, overlaps);
              },
              std::chrono::seconds(30), transport);
        }
      if (c.rank_capacity_factor > 0) expect_dropped(c, all[0]);
      for (size_t way = 1; way < all.size(); ++way)
        for (size_t rank = 0; rank < all[0].size(); ++rank) {
          ASSERT_EQ(all[way][rank].size(), 21u);
          for (size_t i = 0; i < all[0][rank].size(); ++i) {
            // Padding has no order: of rows and weights at experts the numbers count, not the places.
            std::vector<double> a = all[0][rank][i], b = all[way][rank][i];
            if (c.rows_per_expert > 0 && i % 7 < 2) {
              std::sort(a.begin(), a.end());
              std::sort(b.begin(), b.end());
            }
            EXPECT_EQ(a, b) << c.name << ", way " << way << ", rank " << rank << ", result " << i;
          }
        }
    }
  }
}

TEST(GpuPeerRows, AreUsedWhereGpusReachEachOther) {
  MG_NEED_GPUS(2);
  on_gpus(2, [](const GpuRank& rank) {
    EXPECT_NE(make_peer_access(rank.world), nullptr);
    EXPECT_EQ(make_peer_access(rank.host), nullptr);
  });
}

}  // namespace
}  // namespace megalith
