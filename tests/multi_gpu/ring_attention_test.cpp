// A ring whose keys, values and gradients travel beside attention: the bits of one that sends them in line.
#include <cmath>

#include <gtest/gtest.h>

#include "megalith/ops/elementwise.h"
#include "megalith/ops/random_fill.h"
#include "megalith/parallel/context/context_attention.h"

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

constexpr int kRepeats = 3;  // memory that is given back too early shows when it is used again
constexpr int64_t kTokens = 1024, kHeads = 8, kGroups = 4, kDim = 64;  // of a rank

struct Case {
  std::string name;
  DType dtype = DType::kF32;
  int64_t window = -1;
  bool is_packed = false;  // one document, cut so that no rank's keys are seen by the ranks before it
};

struct Outcome {
  std::vector<double> out, d_qkv;
};

std::shared_ptr<const PackedContext> one_document(int ranks) {
  TokenShare share{.batch = 1, .seq = ranks * kTokens, .places = {}};
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<int32_t>& places = share.places.emplace_back();
    for (int64_t i = 0; i < kTokens; ++i) places.push_back(static_cast<int32_t>(rank * kTokens + i));
  }
  const std::vector<int32_t> cu_seqlens = {0, static_cast<int32_t>(share.seq)};
  return std::make_shared<PackedContext>(cu_seqlens, std::move(share));
}

Outcome run_ring(const GpuRank& rank, const Case& c, Communicator& ring) {
  Exec& exec = rank.exec;
  const auto random = [&](int64_t width, uint64_t seed) {
    const Tensor x = exec.empty({kTokens, width}, c.dtype);
    fill_normal({.x = x, .rng = {seed, static_cast<uint64_t>(rank.rank())}}, exec);
    return x;
  };
  const AttentionOptions options{.num_heads = kHeads,
                                 .num_query_groups = kGroups,
                                 .head_dim = kDim,
                                 .scale = 1 / std::sqrt(static_cast<double>(kDim)),
                                 .window = c.window,
                                 .first_key = {}};
  Tape tape(exec);
  const Var qkv = tape.leaf(random((kHeads + 2 * kGroups) * kDim, 1));
  const Var out = ring_attention(tape, qkv, options, ring, c.is_packed ? one_document(ring.size()) : nullptr);
  tape.backward(out, random(kHeads * kDim, 2));
  return {to_vector<double>(out.data), to_vector<double>(tape.gradient(qkv))};
}

void expect_close(const std::vector<double>& actual, const std::vector<double>& expected, double allowed,
                  const std::string& what) {
  ASSERT_EQ(actual.size(), expected.size()) << what;
  double worst = 0, largest = 0;
  for (size_t i = 0; i < actual.size(); ++i) {
    worst = std::max(worst, std::abs(actual[i] - expected[i]));
    largest = std::max(largest, std::abs(expected[i]));
  }
  EXPECT_LE(worst, allowed * largest) << what;
  EXPECT_GT(largest, 0) << what;
}

TEST(GpuRingAttention, BesideAttentionEqualsInLine) {
  MG_NEED_GPUS(2);
  const int n = cuda_device_count() >= 4 ? 4 : 2;
  on_gpus(n, [](const GpuRank& rank) {
    const auto in_line = rank.world.split({.name = "in line"});
    const auto beside = rank.world.split({.name = "beside", .order = CommOrder::kBeside});
    for (const Case& c :
         {Case{.name = "f32"}, Case{.name = "f32, window", .window = 300},
          Case{.name = "f32, packed", .is_packed = true}, Case{.name = "bf16", .dtype = DType::kBF16}}) {
      const Outcome expected = run_ring(rank, c, *in_line);
      // cuDNN's backward adds in any order: a few roundings of bf16 differ.
      const double allowed = c.dtype == DType::kF32 ? 0 : 2e-2;
      for (int repeat = 0; repeat < kRepeats; ++repeat) {
        const Outcome actual = run_ring(rank, c, *beside);
        expect_close(actual.out, expected.out, 0, c.name + ": out");
        expect_close(actual.d_qkv, expected.d_qkv, allowed, c.name + ": d_qkv");
      }
    }
  });
}

}  // namespace
}  // namespace megalith
