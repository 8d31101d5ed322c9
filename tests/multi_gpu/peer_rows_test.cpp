// Rows of experts that are read from the memory of peers: the bits of the exchange through NCCL.
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

Results run(const GpuRank& rank, const Case& c) {
  const Mesh mesh(rank.world, ParallelConfig{.expert_model_parallel_size = rank.world.size()});
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
  for (int round = 0; round < 3; ++round) {  // memory is used again
    Tape tape(exec);
    const Var x = tape.leaf(random_on(rank, {c.tokens, c.hidden}, c.dtype, 1 + static_cast<uint64_t>(round)));
    const Var probs = tape.leaf(random_on(rank, choices, c.dtype == DType::kF64 ? c.dtype : DType::kF32, 11));
    const DispatchedTokens sent =
        dispatcher.dispatch(tape, x,
                            {.probs = probs,
                             .experts = exec.from_host(std::span<const int32_t>(experts), choices),
                             .rows_per_expert = c.rows_per_expert,
                             .has_dropped = c.has_dropped});
    const Var y = weighted_activation(tape, sent.x, sent.probs, ActivationKind::kSilu);
    const Var combined = dispatcher.combine(tape, y, sent.plan);
    tape.backward(combined, random_on(rank, combined.data.shape(), c.dtype, 21));
    const int64_t rows = to_vector<int64_t>(sent.offsets).back();  // behind them lies what nobody reads
    for (const Tensor& tensor : {sent.x.data.slice(0, 0, rows), sent.probs.data.slice(0, 0, rows),
                                 sent.offsets, combined.data, tape.gradient(x), tape.gradient(probs)})
      results.push_back(to_vector<double>(tensor));
  }
  return results;
}

TEST(GpuPeerRows, HaveTheBitsOfTheExchange) {
  MG_NEED_GPUS(2);
  const Case cases[] = {{"bf16", DType::kBF16, 513, 256, 4, 16, 0, false},
                        {"odd width", DType::kF32, 77, 37, 2, 8, 0, false},
                        {"dropped", DType::kBF16, 300, 1160, 3, 8, 0, true},
                        {"padded", DType::kF32, 40, 64, 2, 8, 50, true},
                        {"one token", DType::kF64, 1, 8, 1, 4, 0, false}};
  for (const int num_ranks : {2, 4}) {
    if (cuda_device_count() < num_ranks) continue;
    for (const Case& c : cases) {
      std::vector<std::vector<Results>> all(2, std::vector<Results>(static_cast<size_t>(num_ranks)));
      for (const BesideTransport transport : {BesideTransport::kCopyEngines, BesideTransport::kNccl}) {
        std::vector<Results>& of_ranks = all[transport == BesideTransport::kNccl ? 1 : 0];
        on_gpus(
            num_ranks,
            [&](const GpuRank& rank) { of_ranks[static_cast<size_t>(rank.rank())] = run(rank, c); },
            std::chrono::seconds(30), transport);
      }
      for (size_t rank = 0; rank < all[0].size(); ++rank) {
        ASSERT_EQ(all[0][rank].size(), 18u);
        for (size_t i = 0; i < all[0][rank].size(); ++i)
          EXPECT_EQ(all[0][rank][i], all[1][rank][i]) << c.name << ", rank " << rank << ", result " << i;
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
