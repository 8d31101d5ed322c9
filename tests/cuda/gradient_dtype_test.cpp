// Gradients of weights that are kept in bf16: on the GPU what they are on the CPU, within the rounding of
// both.

#include "megalith/ops/adamw.h"
#include "megalith/ops/embedding.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/norm.h"

#include "tests/cuda/gpu_run.h"
#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using conformance::Layout;
using testing::GpuRun;
using testing::plain_run;
using testing::row_shapes;
using testing::Twins;

constexpr DType kBf16 = DType::kBF16, kF32 = DType::kF32;

struct Sizes {
  int64_t m, n, k;  // of a product
};

// `write` writes the pair, or adds to it, on both devices.
template <class Write>
void expect_same_gradient(Twins& t, const Shape& shape, int64_t terms, const std::string& what,
                          const Write& write) {
  for (const bool accumulate : {false, true}) {
    const auto gradient = accumulate ? t.random(shape, kBf16, 9) : t.poisoned(shape, kBf16);
    write(gradient, accumulate);
    Twins::expect_close(gradient, terms + 1, 1, what + (accumulate ? ", added" : ", written"));
  }
}

TEST(CudaBf16Gradients, OfNormsAndBiases) {
  Twins t;
  for (const Shape& shape : row_shapes()) {
    SCOPED_TRACE(shape.str());
    const int64_t rows = shape[0], cols = shape[1];
    const auto x = t.random(shape, kBf16, 1), d_y = t.random(shape, kBf16, 2);
    expect_same_gradient(t, {cols}, rows, "bias", [&](const Twins::Pair& gradient, bool accumulate) {
      sum_rows({.x = x.cpu, .out = gradient.cpu, .accumulate = accumulate}, t.cpu());
      sum_rows({.x = x.gpu, .out = gradient.gpu, .accumulate = accumulate}, t.gpu());
    });
    const auto weight = t.random({cols}, kBf16, 3);
    const auto mean = t.random({rows}, kF32, 4), rstd = t.random({rows}, kF32, 5);
    for (const NormKind kind : {NormKind::kRmsNorm, NormKind::kLayerNorm}) {
      const auto d_x = t.poisoned(shape, kBf16);
      expect_same_gradient(t, {cols}, rows, "norm", [&](const Twins::Pair& gradient, bool accumulate) {
        NormBackwardArgs args{.kind = kind, .accumulate = accumulate};
        args.d_y = d_y.cpu, args.x = x.cpu, args.weight = weight.cpu, args.d_x = d_x.cpu;
        args.mean = mean.cpu, args.rstd = rstd.cpu, args.d_weight = gradient.cpu;
        norm_backward(args, t.cpu());
        args.d_y = d_y.gpu, args.x = x.gpu, args.weight = weight.gpu, args.d_x = d_x.gpu;
        args.mean = mean.gpu, args.rstd = rstd.gpu, args.d_weight = gradient.gpu;
        norm_backward(args, t.gpu());
      });
    }
  }
}

TEST(CudaBf16Gradients, OfEmbeddings) {
  Twins t;
  for (const int64_t cols : {64, 37, 2048}) {
    for (const int64_t vocabulary : {3, 5000}) {
      const auto ids = t.ids(3000, vocabulary, 1);
      const auto d_out = t.random({3000, cols}, kBf16, 2);
      expect_same_gradient(
          t, {vocabulary, cols}, 3000, "table", [&](const Twins::Pair& gradient, bool accumulate) {
            embedding_backward(
                {.ids = ids.cpu, .d_out = d_out.cpu, .d_table = gradient.cpu, .accumulate = accumulate},
                t.cpu());
            embedding_backward(
                {.ids = ids.gpu, .d_out = d_out.gpu, .d_table = gradient.gpu, .accumulate = accumulate},
                t.gpu());
          });
    }
  }
}

// cuBLASLt may round the product before it adds what was there.
TEST(CudaBf16Gradients, OfMatrices) {
  Twins t;
  constexpr Sizes kSizes[] = {{65, 83, 37}, {256, 512, 4096}};
  for (const auto& [out, in, tokens] : kSizes) {
    const auto d_y = t.random({tokens, out}, kBf16, 1), x = t.random({tokens, in}, kBf16, 2);
    for (const double beta : {0.0, 1.0}) {
      const auto gradient = beta != 0 ? t.random({out, in}, kBf16, 3) : t.poisoned({out, in}, kBf16);
      GemmArgs args{
          .a = d_y.cpu, .b = x.cpu, .c = gradient.cpu, .transpose_a = Transpose::kYes, .beta = beta};
      gemm(args, t.cpu());
      args.a = d_y.gpu, args.b = x.gpu, args.c = gradient.gpu;
      gemm(args, t.gpu());
      conformance::Tolerance allowed = conformance::tolerance(kBf16, tokens);
      allowed.relative *= 2;
      if (beta != 0) allowed.absolute += conformance::unit_roundoff(kBf16);
      if (beta != 0) allowed.relative *= 1.5;
      conformance::expect_close(gradient.gpu, conformance::values_of(gradient.cpu), allowed,
                                fmt::format("{} tokens, beta {}", tokens, beta));
    }
  }
}

TEST(CudaBf16Gradients, AdamwAndTheNormReadThem) {
  Twins t;
  for (const int64_t count : {0, 1, 64, 1003, 40000}) {
    for (const int64_t offset : {0, 1}) {
      const auto all = t.random({count + offset}, kBf16, 2);
      const Tensor grad = all.gpu.slice(0, offset, count + offset);
      const Tensor same = t.gpu().empty({count}, kF32);
      copy(grad, same, t.gpu());
      const auto step = [&](const Tensor& gradient) {
        const auto param = t.poisoned({count}, kBf16), master = t.random({count}, kF32, 1),
                   m = t.random({count}, kF32, 3);
        const AdamwArgs args{.param = param.gpu,
                             .master = master.gpu,
                             .grad = gradient,
                             .exp_avg = m.gpu,
                             .exp_avg_sq = t.gpu().zeros({count}, kF32),
                             .lr = 1e-2,
                             .weight_decay = 0.1,
                             .step = 2};
        adamw(args, t.gpu());
        return std::vector{conformance::values_of(args.param), conformance::values_of(args.master),
                           conformance::values_of(args.exp_avg_sq)};
      };
      EXPECT_EQ(step(grad), step(same)) << count;
      const double expected = sum_of_squares(same, t.gpu());
      EXPECT_NEAR(sum_of_squares(grad, t.gpu()), expected, 1e-12 * expected) << count << " " << offset;
    }
  }
}

TEST(CudaBf16Gradients, StepsFollowF32) {
  for (const bool has_experts : {false, true}) {
    RunConfig config = plain_run();
    config.model.bf16 = true;
    if (has_experts) {
      config.model.normalization = "RMSNorm";
      config.model.swiglu = true;
      config.model.add_bias_linear = false;
      config.model.moe.num_experts = 4;
      config.model.moe.layer_freq = "[0, 1]";
      config.model.moe.ffn_hidden_size = 24;
    }
    const GpuRun::Result expected = GpuRun(config).steps(6);
    config.optim.main_grads_dtype = "bf16";
    const GpuRun::Result got = GpuRun(config).steps(6);
    for (size_t i = 0; i < got.losses.size(); ++i) {
      EXPECT_NEAR(got.losses[i], expected.losses[i], 0x1p-8 * expected.losses[i]);
      EXPECT_NEAR(got.norms[i], expected.norms[i], 0x1p-5 * expected.norms[i]);
    }
    EXPECT_NE(got.norms, expected.norms);
    EXPECT_LT(got.peak_bytes, expected.peak_bytes);
  }
}

// Operands of 10 bits of mantissa, rounded or cut off, each product off by 2^-9 of its size at most: over k
// terms a random walk.
TEST(CudaTf32, ProductsKeepTenBits) {
  Twins t;
  allow_tf32(t.gpu());
  constexpr Sizes kSizes[] = {{128, 64, 512}, {37, 65, 83}, {2, 64, 512}};
  for (const auto& [m, n, k] : kSizes) {
    for (const Transpose transpose_a : {Transpose::kNo, Transpose::kYes}) {
      for (const Transpose transpose_b : {Transpose::kNo, Transpose::kYes}) {
        SCOPED_TRACE(fmt::format("{} x {} x {}", m, n, k));
        const auto a = t.random(transpose_a == Transpose::kYes ? Shape{k, m} : Shape{m, k}, kF32, 1);
        const auto b = t.random(transpose_b == Transpose::kYes ? Shape{n, k} : Shape{k, n}, kF32, 2);
        const auto c = t.poisoned({m, n}, kF32);
        GemmArgs args{
            .a = a.cpu, .b = b.cpu, .c = c.cpu, .transpose_a = transpose_a, .transpose_b = transpose_b};
        gemm(args, t.cpu());
        args.a = a.gpu, args.b = b.gpu, args.c = c.gpu;
        gemm(args, t.gpu());
        const std::vector<double> expected = conformance::values_of(c.cpu),
                                  got = conformance::values_of(c.gpu);
        const double root = std::sqrt(static_cast<double>(k));
        double worst = 0;
        for (size_t i = 0; i < got.size(); ++i) worst = std::max(worst, std::abs(got[i] - expected[i]));
        EXPECT_LT(worst, 0x1p-9 * root);
        if (k % 8 == 0 && m > 4) {
          EXPECT_GT(worst, conformance::tolerance(kF32, k).absolute) << "TF32 is not what multiplies";
        }
      }
    }
  }
}

}  // namespace
}  // namespace megalith
