// The own bf16 products: as plain gemm, and with SwiGLU and its backward in their epilogue.

#include "tests/cuda/gemm_tiled.h"

#include "megalith/kernels/cuda/linear_swiglu.h"
#include "megalith/ops/activation.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/linear_swiglu.h"

#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using conformance::values_of;
using testing::Twins;

constexpr DType kBF16 = DType::kBF16, kF32 = DType::kF32;

bool is_hopper(Exec& gpu) {
  return gpu.cuda().limits().arch == 90;
}

cpu::GemmProblem problem_of(const GemmArgs& args) {
  const bool ta = args.transpose_a == Transpose::kYes, tb = args.transpose_b == Transpose::kYes;
  return {.m = args.c.dim(0),
          .n = args.c.dim(1),
          .k = args.a.dim(ta ? 0 : 1),
          .a = {args.a.raw(), args.a.row_stride(), ta},
          .b = {args.b.raw(), args.b.row_stride(), tb},
          .dtype = args.a.dtype(),
          .out_dtype = args.c.dtype(),
          .c = args.c.raw(),
          .c_row_stride = args.c.row_stride(),
          .alpha = args.alpha,
          .beta = args.beta};
}

// Rows of a wider tensor, NaN beside them; they still begin at multiples of 16 bytes.
Twins::Pair inside(Twins& t, const Twins::Pair& values) {
  Shape wide = values.cpu.shape();
  wide.set(-1, wide[-1] + 16);
  const auto base = t.poisoned(wide, values.cpu.dtype());
  const int64_t end = 8 + values.cpu.dim(-1);
  const Twins::Pair part{base.cpu.slice(-1, 8, end), base.gpu.slice(-1, 8, end)};
  copy(values.cpu, part.cpu, t.cpu());
  copy(values.gpu, part.gpu, t.gpu());
  return part;
}

class CudaTiledGemm : public ::testing::Test {
 protected:
  void SetUp() override {
    if (is_hopper(t.gpu())) return;
    constexpr int64_t kLarge = 1 << 14;  // a size that Hopper takes
    EXPECT_FALSE(cuda::takes_linear_swiglu({.tokens = kLarge,
                                            .hidden = kLarge,
                                            .ffn = kLarge,
                                            .x_stride = kLarge,
                                            .weight_stride = kLarge,
                                            .pre_stride = 2 * kLarge,
                                            .y_stride = kLarge},
                                           t.gpu()));
    EXPECT_FALSE(cuda::takes_swiglu_linear_backward_input({.tokens = kLarge,
                                                           .hidden = kLarge,
                                                           .ffn = kLarge,
                                                           .d_out_stride = kLarge,
                                                           .weight_stride = kLarge,
                                                           .pre_stride = 2 * kLarge,
                                                           .d_pre_stride = 2 * kLarge},
                                                          t.gpu()));
    GTEST_SKIP() << "wgmma is Hopper's; this GPU refused the kernels";
  }

  // C of the CPU and of the kernel.
  void compare(int64_t m, int64_t n, int64_t k, bool ta, bool tb, double beta, bool is_padded) {
    SCOPED_TRACE(fmt::format("{}x{}x{}, {}{}, beta {}{}", m, n, k, ta ? "T" : "N", tb ? "T" : "N", beta,
                             is_padded ? ", padded" : ""));
    const DType out = ta ? kF32 : kBF16;
    auto a = t.random(ta ? Shape{k, m} : Shape{m, k}, kBF16, 1);
    auto b = t.random(tb ? Shape{n, k} : Shape{k, n}, kBF16, 2);
    auto c = beta == 0 ? t.poisoned({m, n}, out) : t.random({m, n}, out, 3);
    if (is_padded) a = inside(t, a), b = inside(t, b), c = inside(t, c);
    GemmArgs args{.transpose_a = ta ? Transpose::kYes : Transpose::kNo,
                  .transpose_b = tb ? Transpose::kYes : Transpose::kNo,
                  .beta = beta};
    args.a = a.cpu, args.b = b.cpu, args.c = c.cpu;
    gemm(args, t.cpu());
    args.a = a.gpu, args.b = b.gpu, args.c = c.gpu;
    const cpu::GemmProblem problem = problem_of(args);
    ASSERT_TRUE(cuda::takes_tiled_gemm(problem, t.gpu()));
    cuda::tiled_gemm(problem, t.gpu());
    Twins::expect_close(c, k + 2, 1, "C");
  }

  Twins t;
};

class CudaLinearSwiglu : public ::testing::Test {
 protected:
  Twins t;
};

struct Sizes {
  int64_t m, n, k;
};
// Below a tile, its edges, parts of tiles and of stages, one pair of tiles and a half.
constexpr Sizes kSizes[] = {{8, 8, 8},       {128, 256, 64}, {64, 128, 200}, {136, 264, 72},
                            {256, 256, 320}, {392, 520, 64}, {1000, 72, 136}};

TEST_F(CudaTiledGemm, EveryLayoutAndEdge) {
  for (const auto& [m, n, k] : kSizes) {
    for (const bool is_padded : {false, true}) {
      compare(m, n, k, false, true, 0, is_padded);
      compare(m, n, k, false, false, 0, is_padded);
      compare(m, n, k, true, false, 0, is_padded);
      compare(m, n, k, true, false, 1, is_padded);
    }
  }
}

TEST_F(CudaTiledGemm, BlocksMakeSeveralTiles) {
  compare(4096, 8192, 72, false, true, 0, false);
  compare(4096 + 8, 8192 - 8, 200, false, false, 0, false);
  compare(4096, 8192, 72, true, false, 1, false);
}

TEST_F(CudaTiledGemm, RefusesWhatItCannotDo) {
  const auto a = t.random({64, 64}, kBF16, 1), b = t.random({64, 64}, kBF16, 2),
             c = t.poisoned({64, 64}, kBF16);
  const GemmArgs good{.a = a.gpu, .b = b.gpu, .c = c.gpu, .transpose_b = Transpose::kYes};
  const auto takes = [&](const GemmArgs& args) { return cuda::takes_tiled_gemm(problem_of(args), t.gpu()); };
  EXPECT_TRUE(takes(good));
  GemmArgs other = good;
  other.alpha = 0.5;
  EXPECT_FALSE(takes(other));
  other = good;
  other.beta = 1;
  EXPECT_FALSE(takes(other));
  other = good;
  other.a = a.gpu.slice(-1, 0, 60), other.b = b.gpu.slice(-1, 0, 60);
  EXPECT_FALSE(takes(other));
  other = good;
  other.b = t.random({63, 64}, kBF16, 2).gpu, other.c = c.gpu.slice(-1, 1, 64);
  EXPECT_FALSE(takes(other));
}

struct SwigluSizes {
  int64_t tokens, hidden, ffn;
};
constexpr SwigluSizes kSwigluSizes[] = {{8, 8, 8},       {128, 64, 128}, {136, 72, 136},
                                        {300, 200, 264}, {512, 128, 64}, {4096 + 16, 64, 4096 - 8}};

TEST_F(CudaTiledGemm, SwigluOfTheTile) {
  for (const auto& [tokens, hidden, ffn] : kSwigluSizes) {
    SCOPED_TRACE(fmt::format("{} tokens, {} -> {}", tokens, hidden, ffn));
    const auto x = t.random({tokens, hidden}, kBF16, 1), weight = t.random({2 * ffn, hidden}, kBF16, 2);
    const auto pre = t.poisoned({tokens, 2 * ffn}, kBF16), y = t.poisoned({tokens, ffn}, kBF16);
    gemm({.a = x.cpu, .b = weight.cpu, .c = pre.cpu, .transpose_b = Transpose::kYes}, t.cpu());
    cuda::linear_swiglu({.tokens = tokens,
                         .hidden = hidden,
                         .ffn = ffn,
                         .x = x.gpu.raw(),
                         .weight = weight.gpu.raw(),
                         .pre = pre.gpu.raw(),
                         .y = y.gpu.raw(),
                         .x_stride = hidden,
                         .weight_stride = hidden,
                         .pre_stride = 2 * ffn,
                         .y_stride = ffn},
                        t.gpu());
    Twins::expect_close(pre, hidden, 1, "pre");
    const Tensor expected = t.gpu().empty({tokens, ffn}, kBF16);
    activation(ActivationKind::kSwiglu, pre.gpu, expected, t.gpu());
    EXPECT_EQ(values_of(y.gpu), values_of(expected)) << "y has the bits of the activation of pre";
  }
}

TEST_F(CudaTiledGemm, SwigluBackwardOfTheTile) {
  for (const auto& [tokens, hidden, ffn] : kSwigluSizes) {
    for (const bool is_in_place : {false, true}) {
      const bool makes_y = !is_in_place;
      SCOPED_TRACE(fmt::format("{} tokens, {} -> {}", tokens, hidden, ffn));
      const auto d_out = t.random({tokens, hidden}, kBF16, 1), weight = t.random({hidden, ffn}, kBF16, 2);
      const auto pre = t.random({tokens, 2 * ffn}, kBF16, 3), apart = t.poisoned({tokens, 2 * ffn}, kBF16);
      scale_in_place(pre.gpu, 6, t.gpu());  // tails too
      const Tensor d_y = t.gpu().empty({tokens, ffn}, kBF16),
                   expected = t.gpu().empty({tokens, 2 * ffn}, kBF16);
      cuda::tiled_gemm(problem_of({.a = d_out.gpu, .b = weight.gpu, .c = d_y}), t.gpu());
      activation_backward(ActivationKind::kSwiglu, pre.gpu, d_y, expected, t.gpu());
      const Tensor& d_pre = is_in_place ? pre.gpu : apart.gpu;
      const auto y = t.poisoned({tokens, ffn}, kBF16);
      cuda::swiglu_linear_backward_input({.tokens = tokens,
                                          .hidden = hidden,
                                          .ffn = ffn,
                                          .d_out = d_out.gpu.raw(),
                                          .weight = weight.gpu.raw(),
                                          .pre = pre.gpu.raw(),
                                          .d_pre = d_pre.raw(),
                                          .y = makes_y ? y.gpu.raw() : nullptr,
                                          .d_out_stride = hidden,
                                          .weight_stride = ffn,
                                          .pre_stride = 2 * ffn,
                                          .d_pre_stride = 2 * ffn,
                                          .y_stride = makes_y ? ffn : 0},
                                         t.gpu());
      EXPECT_EQ(values_of(d_pre), values_of(expected)) << "the bits of product and activation_backward";
      if (!makes_y) continue;
      activation(ActivationKind::kSwiglu, pre.gpu, d_y, t.gpu());
      EXPECT_EQ(values_of(y.gpu), values_of(d_y)) << "the bits of the activation";
    }
  }
}

// Through the ops, with sizes that go to the kernels and sizes that do not, beside the CPU.
TEST_F(CudaLinearSwiglu, FollowsTheCpu) {
  for (const auto& [tokens, hidden, ffn] :
       {SwigluSizes{4096, 64, 2112}, SwigluSizes{7, 20, 12}, SwigluSizes{33, 64, 65}}) {
    SCOPED_TRACE(fmt::format("{} tokens, {} -> {}", tokens, hidden, ffn));
    const auto x = t.random({tokens, hidden}, kBF16, 1), weight = t.random({2 * ffn, hidden}, kBF16, 2);
    const auto pre = t.poisoned({tokens, 2 * ffn}, kBF16), y = t.poisoned({tokens, ffn}, kBF16);
    linear_swiglu({.x = x.cpu, .weight = weight.cpu, .pre = pre.cpu, .y = y.cpu}, t.cpu());
    linear_swiglu({.x = x.gpu, .weight = weight.gpu, .pre = pre.gpu, .y = y.gpu}, t.gpu());
    Twins::expect_close(pre, hidden, 1, "pre");
    const Tensor expected = t.gpu().empty({tokens, ffn}, kBF16);
    activation(ActivationKind::kSwiglu, pre.gpu, expected, t.gpu());
    EXPECT_EQ(values_of(y.gpu), values_of(expected)) << "y has the bits of the activation of pre";
  }
}

}  // namespace
}  // namespace megalith
