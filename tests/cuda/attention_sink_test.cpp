// Attention sinks on the GPU against the CPU's: the pass alone, and behind every attention kernel.

#include "megalith/ops/attention_sink.h"

#include <chrono>
#include <cmath>
#include <cstdio>

#include "megalith/ops/attention.h"

#include "tests/cuda/twins.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::Twins;

constexpr DType kGpuTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

TEST(CudaAttentionSink, PassMatchesTheCpu) {
  Twins t;
  for (const DType dtype : kGpuTypes) {
    for (const Shape& shape :
         {Shape{2, 37, 4, 64}, Shape{1, 300, 3, 128}, Shape{2, 5, 2, 5}, Shape{3, 1, 16, 128},
          Shape{1, 33, 2, 256}, Shape{2, 3000, 1, 24}, Shape{1, 9, 2, 600}, Shape{0, 5, 2, 8}}) {
      for (const Layout layout : kLayouts) {
        SCOPED_TRACE(std::string(name_of(dtype)) + " " + shape.str());
        const int64_t heads = shape[2];
        const auto sink = t.random({heads}, dtype, 1), d_out = t.random(shape, dtype, 2, layout);
        const auto out = t.random(shape, dtype, 3, layout);
        const auto lse = t.random({shape[0], heads, shape[1]}, DType::kF32, 4);
        const auto d_sink = t.random({heads}, DType::kF32, 5);
        const bool is_learned = layout == Layout::kContiguous;
        const auto run = [&](Tensor Twins::Pair::*at, Exec& exec) {
          const AttentionSinkArgs args{
              .sink = is_learned ? sink.*at : Tensor(), .out = out.*at, .lse = lse.*at};
          attention_sink(args, exec);
          attention_sink_backward(
              {.forward = args, .d_out = d_out.*at, .d_sink = d_sink.*at, .accumulate = is_learned}, exec);
        };
        run(&Twins::Pair::cpu, t.cpu());
        run(&Twins::Pair::gpu, t.gpu());
        Twins::expect_close(out, 2, 1, "out");
        Twins::expect_close(lse, 4, 2, "lse");
        // Of two-byte types an `out` that rounded the other way is another term.
        const double share = dtype == DType::kF32 ? 1 : unit_roundoff(dtype) * 0x1p20;
        Twins::expect_close(d_sink, shape[0] * shape[1] * shape[3], share, "d_sink");
      }
    }
  }
}

enum class Mask { kCausal, kDocuments, kPackedDocuments, kLimits };

struct Case {
  int64_t batch, queries, keys, heads, kv_heads, head_dim;
  Mask mask = Mask::kCausal;
  int64_t window = -1;
  double dropout = 0;

  std::string name() const {
    return fmt::format("[B {}, S {} of {}, N {} of {}, D {}], mask {}, window {}, dropout {}", batch, queries,
                       keys, heads, kv_heads, head_dim, static_cast<int>(mask), window, dropout);
  }
};

// cuDNN for two bytes (whole rows, packed documents), decode and tiled kernels for the rest.
const Case kCases[] = {
    {2, 257, 257, 8, 2, 128},
    {1, 300, 300, 4, 4, 64, Mask::kCausal, 40},
    {2, 300, 300, 4, 2, 64, Mask::kPackedDocuments},
    {2, 160, 160, 2, 1, 192, Mask::kPackedDocuments},
    {1, 129, 129, 2, 1, 256},
    {2, 100, 100, 2, 1, 40, Mask::kDocuments, -1, 0.25},
    {2, 300, 300, 2, 1, 64, Mask::kLimits},
    {2, 1, 600, 4, 2, 64},
    {1, 4, 200, 6, 2, 64, Mask::kCausal, 70},
    {2, 37, 37, 4, 2, 6},
};

// Documents of 53 tokens; of kLimits every fifth query sees nothing.
AttentionArgs masked(const Case& c, Exec& exec) {
  AttentionArgs args{.scale = 1 / std::sqrt(static_cast<double>(c.head_dim)),
                     .is_causal = c.mask != Mask::kLimits,
                     .window = c.window,
                     .dropout = c.dropout,
                     .rng = exec.rng().fold("sink test")};
  if (c.mask == Mask::kCausal) return args;
  constexpr int64_t kLength = 53;
  std::vector<int32_t> first, end, starts;
  for (int64_t b = 0; b < c.batch; ++b) {
    for (int64_t i = 0; i < c.queries; ++i) {
      first.push_back(static_cast<int32_t>(i / kLength * kLength));
      end.push_back(i % 5 == 4 ? 0
                               : static_cast<int32_t>(std::min(c.keys, i / kLength * kLength + 1 + i % 90)));
      if (i % kLength == 0) starts.push_back(static_cast<int32_t>(b * c.queries + i));
    }
  }
  starts.push_back(static_cast<int32_t>(c.batch * c.queries));
  args.first_key = exec.from_host<int32_t>(first, {c.batch, c.queries});
  if (c.mask == Mask::kLimits) args.end_key = exec.from_host<int32_t>(end, {c.batch, c.queries});
  if (c.mask == Mask::kPackedDocuments)
    args.documents = {.starts = exec.from_host<int32_t>(starts, {static_cast<int64_t>(starts.size())}),
                      .longest = kLength};
  return args;
}

// On the GPU in `dtype`, on the CPU in f64 from the same rounded values.
TEST(CudaAttentionSink, BehindEveryAttentionKernel) {
  Twins t;
  for (const DType dtype : kGpuTypes) {
    for (const Case& c : kCases) {
      SCOPED_TRACE(std::string(name_of(dtype)) + " " + c.name());
      const Shape q_shape{c.batch, c.queries, c.heads, c.head_dim},
          kv_shape{c.batch, c.keys, c.kv_heads, c.head_dim};
      const auto input = [&](const Shape& shape, uint64_t seed) {
        const auto pair = t.random(shape, dtype, seed);
        return Twins::Pair{tensor_of(t.cpu(), values_of(pair.cpu), shape, DType::kF64), pair.gpu};
      };
      const auto output = [&](const Shape& shape, DType on_gpu) {
        return Twins::Pair{t.cpu().zeros(shape, DType::kF64), t.poisoned(shape, on_gpu).gpu};
      };
      const auto q = input(q_shape, 1), k = input(kv_shape, 2), v = input(kv_shape, 3),
                 d_out = input(q_shape, 4);
      const auto sink = input({c.heads}, 5), out = output(q_shape, dtype), d_q = output(q_shape, dtype);
      const auto d_k = output(kv_shape, dtype), d_v = output(kv_shape, dtype);
      const auto lse = output({c.batch, c.heads, c.queries}, DType::kF32),
                 d_sink = output({c.heads}, DType::kF32);
      const auto run = [&](Tensor Twins::Pair::*at, Exec& exec) {
        AttentionArgs args = masked(c, exec);
        args.q = q.*at, args.k = k.*at, args.v = v.*at, args.out = out.*at, args.lse = lse.*at;
        attention(args, exec);
        const AttentionSinkArgs joined{.sink = sink.*at, .out = out.*at, .lse = lse.*at};
        attention_sink(joined, exec);
        attention_backward(
            {.forward = args, .d_out = d_out.*at, .d_q = d_q.*at, .d_k = d_k.*at, .d_v = d_v.*at}, exec);
        attention_sink_backward({.forward = joined, .d_out = d_out.*at, .d_sink = d_sink.*at}, exec);
      };
      run(&Twins::Pair::cpu, t.cpu());
      run(&Twins::Pair::gpu, t.gpu());
      const double kept = 1 / (1 - c.dropout), wide = std::sqrt(static_cast<double>(c.head_dim)) * kept;
      const double rounding = dtype == DType::kF32 ? 0 : unit_roundoff(dtype);
      Tolerance forward = tolerance(dtype, c.keys + c.head_dim, kept);
      Tolerance backward = tolerance(dtype, c.keys + c.queries * c.heads / c.kv_heads, wide);
      forward.absolute += 3 * rounding * kept;
      backward.absolute += 4 * rounding * wide;
      Tolerance sum = tolerance(DType::kF32, c.batch * c.queries * c.head_dim, kept);
      sum.absolute += 4 * rounding * kept * std::sqrt(static_cast<double>(c.batch * c.queries * c.head_dim));
      expect_close(out.gpu, values_of(out.cpu), forward, "out");
      expect_close(lse.gpu, values_of(lse.cpu), tolerance(DType::kF32, c.head_dim, 8), "lse");
      expect_close(d_q.gpu, values_of(d_q.cpu), backward, "d_q");
      expect_close(d_k.gpu, values_of(d_k.cpu), backward, "d_k");
      expect_close(d_v.gpu, values_of(d_v.cpu), backward, "d_v");
      expect_close(d_sink.gpu, values_of(d_sink.cpu), sum, "d_sink");
    }
  }
}

TEST(CudaAttentionSink, RepeatsItsBits) {
  Twins t;
  const Shape shape{3, 1000, 4, 128};
  const auto d_out = t.random(shape, DType::kBF16, 2), out = t.random(shape, DType::kBF16, 3);
  const auto lse = t.random({3, 4, 1000}, DType::kF32, 4), sink = t.random({4}, DType::kBF16, 1);
  std::vector<double> first;
  for (int round = 0; round < 5; ++round) {
    const auto d_sink = t.poisoned({4}, DType::kF32);
    attention_sink_backward({.forward = {.sink = sink.gpu, .out = out.gpu, .lse = lse.gpu},
                             .d_out = d_out.gpu,
                             .d_sink = d_sink.gpu},
                            t.gpu());
    if (round == 0) first = values_of(d_sink.gpu);
    EXPECT_TRUE(values_of(d_sink.gpu) == first);
  }
}

// A layer of a 1.14 B model, batch 8 x 4096, bf16.
TEST(CudaAttentionSinkSpeed, Training) {
  if (!performance_wanted()) GTEST_SKIP() << "MEGALITH_PERF=1 runs it";
  Exec exec({.device = {DeviceKind::kCuda, 0}});
  const Shape shape{8, 4096, 16, 128};
  const Tensor out = exec.zeros(shape, DType::kBF16), d_out = exec.zeros(shape, DType::kBF16);
  const Tensor lse = exec.zeros({8, 16, 4096}, DType::kF32), d_sink = exec.zeros({16}, DType::kF32);
  const AttentionSinkArgs args{.sink = {}, .out = out, .lse = lse};
  const auto report = [&](const char* name, const auto& work) {
    constexpr int kCalls = 200;
    for (int i = 0; i < 20; ++i) work();
    exec.synchronize();
    const auto start = std::chrono::steady_clock::now();
    for (int i = 0; i < kCalls; ++i) work();
    exec.synchronize();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() / kCalls;
    std::printf("attention sink %s: %.1f us, %.0f GB/s\n", name, seconds * 1e6,
                2e-9 * static_cast<double>(out.nbytes()) / seconds);
  };
  report("forward", [&] { attention_sink(args, exec); });
  report("backward",
         [&] { attention_sink_backward({.forward = args, .d_out = d_out, .d_sink = d_sink}, exec); });
}

}  // namespace
}  // namespace megalith
