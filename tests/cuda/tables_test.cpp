// Products, tables and reductions: gemm, embedding, cross-entropy, AdamW, sum of squares.

#include <cmath>

#include "megalith/ops/adamw.h"
#include "megalith/ops/cross_entropy.h"
#include "megalith/ops/embedding.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/update.h"

#include "tests/cuda/twins.h"

namespace megalith {
namespace {

using conformance::kFloatTypes;
using conformance::kLayouts;
using conformance::Layout;
using testing::Twins;

DType sum_type(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

struct GemmCase {
  DType dtype, out_dtype;
};

TEST(CudaGemm, EveryTransposeSizeAndLayout) {
  Twins t;
  constexpr GemmCase kCases[] = {{DType::kF64, DType::kF64},   {DType::kF32, DType::kF32},
                                 {DType::kBF16, DType::kBF16}, {DType::kBF16, DType::kF32},
                                 {DType::kF16, DType::kF16},   {DType::kF16, DType::kF32}};
  struct Sizes {
    int64_t m, n, k;
  };
  constexpr Sizes kSizes[] = {{64, 128, 32}, {7, 37, 13},  {1, 1, 300},   {1, 96, 64}, {0, 5, 5},
                              {5, 6, 0},     {129, 1, 40}, {4, 50, 1000}, {2, 9, 8}};
  for (const GemmCase& c : kCases) {
    for (const auto& [m, n, k] : kSizes) {
      for (const Layout layout : kLayouts) {
        for (int flags = 0; flags < 4; ++flags) {
          const bool ta = (flags & 1) != 0, tb = (flags & 2) != 0;
          SCOPED_TRACE(fmt::format("{} -> {}, {}x{}x{}, {}{}{}", name_of(c.dtype), name_of(c.out_dtype), m, n,
                                   k, ta ? "T" : "N", tb ? "T" : "N",
                                   layout == Layout::kContiguous ? "" : " padded"));
          const auto a = t.random(ta ? Shape{k, m} : Shape{m, k}, c.dtype, 1, layout);
          const auto b = t.random(tb ? Shape{n, k} : Shape{k, n}, c.dtype, 2, layout);
          const auto run = [&](const Twins::Pair& out, double beta, const Twins::Pair& bias,
                               const Twins::Pair& addend = {}) {
            const GemmArgs args{.transpose_a = ta ? Transpose::kYes : Transpose::kNo,
                                .transpose_b = tb ? Transpose::kYes : Transpose::kNo,
                                .alpha = 0.5,
                                .beta = beta};
            GemmArgs cpu = args, gpu = args;
            cpu.a = a.cpu, cpu.b = b.cpu, cpu.c = out.cpu, cpu.bias = bias.cpu, cpu.addend = addend.cpu;
            gpu.a = a.gpu, gpu.b = b.gpu, gpu.c = out.gpu, gpu.bias = bias.gpu, gpu.addend = addend.gpu;
            gemm(cpu, t.cpu());
            gemm(gpu, t.gpu());
            // What is added (a bias, the old C, an addend) may meet a product that has been rounded to the
            // dtype of C.
            const bool is_added_to = bias.cpu.defined() || beta != 0 || addend.cpu.defined();
            const double product = is_added_to ? std::sqrt(static_cast<double>(k)) : 0;
            const double terms = static_cast<double>(k + 2);
            const double magnitude =
                1 + product * conformance::unit_roundoff(c.out_dtype) / (0x1p-24 * std::sqrt(terms));
            Twins::expect_close(out, k + 2, c.dtype == DType::kF64 ? 1 : magnitude, "C");
          };
          run(t.poisoned({m, n}, c.out_dtype, layout), 0, {});
          run(t.random({m, n}, c.out_dtype, 3, layout), 1, {});
          run(t.poisoned({m, n}, c.out_dtype, layout), 0, t.random({n}, c.out_dtype, 4));
          run(t.poisoned({m, n}, c.out_dtype, layout), 0, {}, t.random({m, n}, c.out_dtype, 5, layout));
        }
      }
    }
  }
}

TEST(CudaEmbedding, ForwardAndBackward) {
  Twins t;
  for (const DType dtype : kFloatTypes) {
    for (const Shape& shape : {Shape{40, 64}, Shape{33, 37}, Shape{0, 8}, Shape{3000, 16}}) {
      for (const Layout layout : kLayouts) {
        SCOPED_TRACE(std::string(name_of(dtype)) + shape.str());
        const int64_t tokens = shape[0], cols = shape[1], vocabulary = 19;
        const auto ids = t.ids(tokens, vocabulary, 1), places = t.ids(tokens, 7, 2);
        const auto table = t.random({vocabulary, cols}, dtype, 3, layout);
        const auto positions = t.random({7, cols}, dtype, 4, layout);
        const auto out = t.poisoned(shape, dtype, layout);
        embedding({.ids = ids.cpu,
                   .table = table.cpu,
                   .positions = places.cpu,
                   .positions_table = positions.cpu,
                   .out = out.cpu},
                  t.cpu());
        embedding({.ids = ids.gpu,
                   .table = table.gpu,
                   .positions = places.gpu,
                   .positions_table = positions.gpu,
                   .out = out.gpu},
                  t.gpu());
        Twins::expect_equal(out, "out");
        const auto d_out = t.random(shape, dtype, 5, layout);
        const auto d_table = t.random({vocabulary, cols}, sum_type(dtype), 6);
        for (const bool accumulate : {true, false}) {
          embedding_backward(
              {.ids = ids.cpu, .d_out = d_out.cpu, .d_table = d_table.cpu, .accumulate = accumulate},
              t.cpu());
          embedding_backward(
              {.ids = ids.gpu, .d_out = d_out.gpu, .d_table = d_table.gpu, .accumulate = accumulate},
              t.gpu());
          Twins::expect_equal(d_table, "d_table: the sums go in the same order");
        }
      }
    }
  }
}

TEST(CudaEmbedding, GradientOfAShard) {
  Twins t;
  constexpr int64_t kTokens = 5000, kIds = 19, kFirst = 6, kRows = 7, kHidden = 48;
  for (const DType dtype : kFloatTypes) {
    const auto ids = t.ids(kTokens, kIds, 1);
    const auto d_out = t.random({kTokens, kHidden}, dtype, 5);
    const auto d_table = t.random({kRows, kHidden}, sum_type(dtype), 6);
    const auto run = [&](const Tensor& some_ids, const Tensor& d_rows, const Tensor& table, Exec& exec) {
      embedding_backward(
          {.ids = some_ids, .d_out = d_rows, .d_table = table, .first_id = kFirst, .num_ids = kIds}, exec);
    };
    run(ids.cpu, d_out.cpu, d_table.cpu, t.cpu());
    run(ids.gpu, d_out.gpu, d_table.gpu, t.gpu());
    Twins::expect_equal(d_table, "d_table");
  }
}

TEST(CudaEmbedding, AnIdOutsideTheTableIsNan) {
  Twins t;
  const auto ids = t.of({0, 5, -1}, {3}, DType::kI32);
  const auto table = t.random({5, 4}, DType::kF32, 1);
  const auto out = t.poisoned({3, 4}, DType::kF32);
  embedding({.ids = ids.gpu, .table = table.gpu, .out = out.gpu}, t.gpu());
  const std::vector<double> values = to_vector<double>(out.gpu);
  EXPECT_FALSE(std::isnan(values[0]));
  EXPECT_TRUE(std::isnan(values[4]) && std::isnan(values[8]));
}

TEST(CudaCrossEntropy, LossAndGradient) {
  Twins t;
  for (const DType dtype : kFloatTypes) {
    for (const Shape& shape :
         {Shape{5, 64}, Shape{3, 37}, Shape{2, 1}, Shape{0, 9}, Shape{4, 32000}, Shape{2, 9001}}) {
      for (const Layout layout : kLayouts) {
        SCOPED_TRACE(std::string(name_of(dtype)) + shape.str());
        const auto logits = t.random(shape, dtype, 1, layout);
        scale_in_place(logits.cpu, 20, t.cpu());
        scale_in_place(logits.gpu, 20, t.gpu());
        std::vector<double> targets;
        for (int64_t row = 0; row < shape[0]; ++row)
          targets.push_back(row == 1 ? -1 : static_cast<double>(row * 7 % shape[1]));
        const auto labels = t.of(targets, {shape[0]}, DType::kI32);
        const auto loss = t.poisoned({shape[0]}, sum_type(dtype));
        const auto apart = t.poisoned(shape, dtype, layout);
        cross_entropy({.logits = logits.cpu, .labels = labels.cpu, .loss = loss.cpu, .d_logits = apart.cpu},
                      t.cpu());
        cross_entropy({.logits = logits.gpu, .labels = labels.gpu, .loss = loss.gpu, .d_logits = apart.gpu},
                      t.gpu());
        Twins::expect_close(loss, shape[1], 4, "loss");
        Twins::expect_close(apart, 16, 1, "d_logits");
        cross_entropy({.logits = logits.cpu, .labels = labels.cpu, .loss = loss.cpu, .d_logits = logits.cpu},
                      t.cpu());
        cross_entropy({.logits = logits.gpu, .labels = labels.gpu, .loss = loss.gpu, .d_logits = logits.gpu},
                      t.gpu());
        Twins::expect_close(loss, shape[1], 4, "loss in place");
        Twins::expect_close(logits, 16, 1, "d_logits in place");
      }
    }
  }
}

TEST(CudaAdamw, FollowsTheCpu) {
  Twins t;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t count : {4096, 1003, 1}) {
      const auto grad = t.random({count}, DType::kF32, 1), m = t.random({count}, DType::kF32, 2);
      const auto v = t.of(std::vector<double>(static_cast<size_t>(count), 0.25), {count}, DType::kF32);
      const auto master = t.random({count}, DType::kF32, 3), param = t.random({count}, dtype, 4);
      for (int64_t step = 1; step <= 3; ++step) {
        const auto run = [&](Exec& exec, Tensor Twins::Pair::*side) {
          adamw({.param = param.*side,
                 .master = master.*side,
                 .grad = grad.*side,
                 .exp_avg = m.*side,
                 .exp_avg_sq = v.*side,
                 .lr = 0.1,
                 .weight_decay = 0.1,
                 .grad_scale = 0.5,
                 .step = step},
                exec);
        };
        run(t.cpu(), &Twins::Pair::cpu);
        run(t.gpu(), &Twins::Pair::gpu);
      }
      for (const auto& pair : {m, v, master, param}) Twins::expect_close(pair, 9, 1, "state");
    }
  }
}

TEST(CudaAdamw, NumbersOnTheDeviceGiveTheBitsOfNumbersByValue) {
  Twins t;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t count : {4096, 1003}) {
      for (const bool is_applied : {true, false}) {
        const auto run = [&](bool has_numbers) {
          const Tensor grad = t.random({count}, DType::kF32, 1).gpu,
                       m = t.random({count}, DType::kF32, 2).gpu;
          const Tensor master = t.random({count}, DType::kF32, 3).gpu,
                       param = t.random({count}, dtype, 4).gpu;
          const Tensor v =
              t.of(std::vector<double>(static_cast<size_t>(count), 0.25), {count}, DType::kF32).gpu;
          AdamwArgs args{.param = param,
                         .master = master,
                         .grad = grad,
                         .exp_avg = m,
                         .exp_avg_sq = v,
                         .lr = 0.01,
                         .weight_decay = 0.1,
                         .grad_scale = 0.3,
                         .step = 3};
          if (has_numbers) {
            const AdamwFactors f = adamw_factors({.lr = 0.01, .weight_decay = 0.1, .step = 3});
            args.numbers =
                t.of({0.3, f.decay, f.step_size, f.root_scale, is_applied ? 1.0 : 0.0}, {5}, DType::kF32).gpu;
          }
          if (has_numbers || is_applied) adamw(args, t.gpu());
          std::vector<double> values;
          for (const Tensor& tensor : {param, master, m, v}) {
            const std::vector<double> more = conformance::values_of(tensor);
            values.insert(values.end(), more.begin(), more.end());
          }
          return values;
        };
        EXPECT_EQ(run(true), run(false)) << name_of(dtype) << " " << count << " " << is_applied;
      }
    }
  }
}

// All of it is decided in f64 without fused multiply-adds: the host's bits.
TEST(CudaAdamw, DecidesAsTheCpu) {
  Twins t;
  for (const double poison : {0.0, static_cast<double>(INFINITY)}) {
    for (const double max_norm : {0.0, 0.3, 100.0}) {
      constexpr int64_t kTerms = 37;
      const auto squares = t.random({kTerms}, DType::kF64, 1);
      const auto loss = t.of({3.7 + poison}, {1}, DType::kF64);
      const auto factors = t.of({1.0 / 3, 0.999, 0.0123, 1.7}, {4}, DType::kF64);
      const auto results = t.poisoned({3}, DType::kF64), numbers = t.poisoned({5}, DType::kF32);
      // Weights that make every term of the sum positive.
      UpdateArgs args{.squares = squares.cpu,
                      .weights = squares.cpu,
                      .loss = loss.cpu,
                      .factors = factors.cpu,
                      .max_norm = max_norm,
                      .results = results.cpu,
                      .numbers = numbers.cpu};
      decide_update(args, t.cpu());
      args.squares = args.weights = squares.gpu;
      args.loss = loss.gpu;
      args.factors = factors.gpu;
      args.results = results.gpu;
      args.numbers = numbers.gpu;
      decide_update(args, t.gpu());
      for (const auto& pair : {loss, results, numbers}) Twins::expect_equal(pair, "decision");
      EXPECT_EQ(conformance::values_of(numbers.gpu)[4], poison == 0 ? 1 : 0);
    }
  }
}

TEST(CudaSums, SumOfSquares) {
  Twins t;
  for (const int64_t count : {0, 1, 1003, 5000000}) {
    const auto x = t.random({count}, DType::kF32, 1);
    const double expected = sum_of_squares(x.cpu, t.cpu()), actual = sum_of_squares(x.gpu, t.gpu());
    EXPECT_NEAR(actual, expected, 1e-12 * expected);
    EXPECT_EQ(actual, sum_of_squares(x.gpu, t.gpu())) << "twice the same bits";
  }
}

}  // namespace
}  // namespace megalith
