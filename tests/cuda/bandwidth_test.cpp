// MEGALITH_PERF=1: what share of a plain copy's bandwidth the memory-bound kernels reach, at the sizes of a
// training step (32,768 tokens, hidden 2048, SwiGLU 8192, vocabulary 32,000), bf16.

#include <algorithm>
#include <cstdio>

#include "megalith/core/cuda/check.h"
#include "megalith/ops/activation.h"
#include "megalith/ops/adamw.h"
#include "megalith/ops/cross_entropy.h"
#include "megalith/ops/embedding.h"
#include "megalith/ops/norm.h"
#include "megalith/ops/random_fill.h"
#include "megalith/ops/rope.h"

#include "tests/cuda/twins.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

constexpr int64_t kTokens = 32768, kHidden = 2048, kFfn = 8192, kVocabulary = 32000;

class CudaBandwidth : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!conformance::performance_wanted()) GTEST_SKIP() << "MEGALITH_PERF is not 1";
    exec_ = std::make_unique<Exec>(ExecOptions{.device = {DeviceKind::kCuda, 0}});
    const Tensor from = random({int64_t{1} << 30}), to = exec_->empty({int64_t{1} << 30}, DType::kBF16);
    copy_rate_ = rate([&] { copy(from, to, *exec_); }, 4.0 * (1 << 30));
    std::printf("copy %.0f GB/s\n", copy_rate_);
  }

  Tensor random(const Shape& shape, DType dtype = DType::kBF16) {
    const Tensor x = exec_->empty(shape, dtype);
    fill_normal({.x = x, .rng = {3, static_cast<uint64_t>(shape.numel())}}, *exec_);
    return x;
  }

  template <class Call>
  double rate(const Call& call, double bytes) {
    constexpr int kCalls = 20;
    cudaEvent_t begin, end;
    MG_CUDA_CHECK(cudaEventCreate(&begin));
    MG_CUDA_CHECK(cudaEventCreate(&end));
    for (int i = 0; i < 3; ++i) call();
    MG_CUDA_CHECK(cudaEventRecord(begin, exec_->cuda().stream()));
    for (int i = 0; i < kCalls; ++i) call();
    MG_CUDA_CHECK(cudaEventRecord(end, exec_->cuda().stream()));
    exec_->synchronize();
    float ms = 0;
    MG_CUDA_CHECK(cudaEventElapsedTime(&ms, begin, end));
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    return bytes * kCalls / (ms * 1e6);
  }

  template <class Call>
  void report(const char* name, double bytes, const Call& call) {
    const double reached = rate(call, bytes);
    std::printf("%-32s %8.1f us %6.0f GB/s = %3.0f %% of a copy\n", name, bytes / reached * 1e-3, reached,
                100 * reached / copy_rate_);
    std::fflush(stdout);
  }

  std::unique_ptr<Exec> exec_;
  double copy_rate_ = 0;
};

TEST_F(CudaBandwidth, TrainingStepKernels) {
  Exec& e = *exec_;
  const double row_bytes = 2.0 * kTokens * kHidden;
  const Tensor a = random({kTokens, kHidden}), b = random({kTokens, kHidden}), c = random({kTokens, kHidden});
  report("add", 3 * row_bytes, [&] { add(a, b, c, e); });
  const Tensor wide = e.empty({kTokens, kHidden}, DType::kF32);
  report("cast bf16 to f32", 3 * row_bytes, [&] { copy(a, wide, e); });
  const Tensor factors = random({kTokens}, DType::kF32);
  report("scale_rows", 2 * row_bytes, [&] { scale_rows(a, factors, c, e); });

  const Tensor weight = random({kHidden}), rstd = e.empty({kTokens}, DType::kF32),
               sum = random({kTokens, kHidden});
  report("rmsnorm", 2 * row_bytes, [&] { norm({.x = a, .weight = weight, .y = c, .rstd = rstd}, e); });
  report("rmsnorm with residual", 4 * row_bytes,
         [&] { norm({.x = a, .residual = b, .weight = weight, .sum = sum, .y = c, .rstd = rstd}, e); });
  const Tensor d_weight = e.zeros({kHidden}, DType::kF32), d_x = random({kTokens, kHidden});
  report("rmsnorm backward with d_sum", 4 * row_bytes, [&] {
    norm_backward(
        {.d_y = a, .d_sum = b, .x = sum, .weight = weight, .rstd = rstd, .d_x = d_x, .d_weight = d_weight},
        e);
  });

  constexpr int64_t kHeads = 32, kHeadDim = 128;  // 16 query, 8 key and 8 value heads
  const Tensor qkv = random({kTokens, kHeads, kHeadDim});
  const Tensor cosine = random({4096, kHeadDim / 2}, DType::kF32),
               sine = random({4096, kHeadDim / 2}, DType::kF32);
  std::vector<int32_t> places(kTokens);
  for (size_t i = 0; i < places.size(); ++i) places[i] = static_cast<int32_t>(i % 4096);
  const Tensor positions = e.from_host(std::span<const int32_t>(places), {kTokens});
  report("rope, 24 of 32 heads", 2.0 * 2 * kTokens * 24 * kHeadDim,
         [&] { rope({.x = qkv.slice(1, 0, 24), .cos = cosine, .sin = sine, .positions = positions}, e); });

  const Tensor fc1 = random({kTokens, 2 * kFfn}), act = random({kTokens, kFfn}),
               d_fc1 = random({kTokens, 2 * kFfn});
  report("swiglu", 6.0 * kTokens * kFfn, [&] { activation(ActivationKind::kSwiglu, fc1, act, e); });
  report("swiglu backward", 10.0 * kTokens * kFfn,
         [&] { activation_backward(ActivationKind::kSwiglu, fc1, act, d_fc1, e); });

  std::vector<int32_t> tokens(kTokens);
  for (size_t i = 0; i < tokens.size(); ++i)
    tokens[i] = static_cast<int32_t>(RngKey{1, 2}.bits(i) % static_cast<uint32_t>(kVocabulary));
  const Tensor ids = e.from_host(std::span<const int32_t>(tokens), {kTokens});
  const Tensor table = random({kVocabulary, kHidden}), d_table = e.zeros({kVocabulary, kHidden}, DType::kF32);
  report("embedding", 2 * row_bytes, [&] { embedding({.ids = ids, .table = table, .out = c}, e); });
  // Rows that are met are read and written in f32, the rest is not touched.
  report("embedding backward", row_bytes + 2 * 0.64 * 4.0 * kVocabulary * kHidden,
         [&] { embedding_backward({.ids = ids, .d_out = a, .d_table = d_table}, e); });

  const Tensor logits = random({kTokens, kVocabulary}), loss = e.empty({kTokens}, DType::kF32);
  report("cross-entropy, in place", 2.0 * 2 * kTokens * kVocabulary,
         [&] { cross_entropy({.logits = logits, .labels = ids, .loss = loss, .d_logits = logits}, e); });

  constexpr int64_t kCount = 256'000'000;
  const Tensor master = random({kCount}, DType::kF32), grad = random({kCount}, DType::kF32);
  const Tensor m = e.zeros({kCount}, DType::kF32), v = e.zeros({kCount}, DType::kF32);
  const Tensor param = e.zeros({kCount}, DType::kBF16);
  report("adamw", 30.0 * kCount, [&] {
    adamw({.param = param, .master = master, .grad = grad, .exp_avg = m, .exp_avg_sq = v, .lr = 1e-4}, e);
  });
  report("sum of squares", 4.0 * kCount, [&] { sum_of_squares(grad, e); });
  const Tensor bias_grad = e.empty({kHidden}, DType::kF32);
  report("sum of rows", row_bytes, [&] { sum_rows({.x = a, .out = bias_grad}, e); });
}

}  // namespace
}  // namespace megalith
