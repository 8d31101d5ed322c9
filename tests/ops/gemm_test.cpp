#include "megalith/ops/gemm.h"

#include <cmath>
#include <cstdio>

#include <gtest/gtest.h>

#include "megalith/kernels/cpu/gemm_plan.h"

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;

struct Case {
  int64_t m, n, k;
  Transpose transpose_a, transpose_b;
};

constexpr Transpose kBoth[] = {Transpose::kNo, Transpose::kYes};

Shape shape_of(int64_t rows, int64_t columns, Transpose transpose) {
  return transpose == Transpose::kYes ? Shape{columns, rows} : Shape{rows, columns};
}

// op(A)[i, j] of row-major values.
double element(const std::vector<double>& values, const Shape& shape, Transpose transpose, int64_t i,
               int64_t j) {
  return values[static_cast<size_t>(transpose == Transpose::kYes ? j * shape[1] + i : i * shape[1] + j)];
}

struct Terms {
  double alpha = 1, beta = 0;
  std::vector<double> old_c, bias;
};

std::vector<double> reference(const Case& c, const Tensor& a, const Tensor& b, const Terms& terms) {
  const std::vector<double> a_values = values_of(a);
  const std::vector<double> b_values = values_of(b);
  std::vector<double> result;
  for (int64_t i = 0; i < c.m; ++i) {
    for (int64_t j = 0; j < c.n; ++j) {
      double sum = 0;
      for (int64_t k = 0; k < c.k; ++k)
        sum += element(a_values, a.shape(), c.transpose_a, i, k) *
               element(b_values, b.shape(), c.transpose_b, k, j);
      sum *= terms.alpha;
      if (terms.beta != 0) sum += terms.beta * terms.old_c[static_cast<size_t>(i * c.n + j)];
      if (!terms.bias.empty()) sum += terms.bias[static_cast<size_t>(j)];
      result.push_back(sum);
    }
  }
  return result;
}

std::string name_of_case(const Case& c) {
  return fmt::format("m {} n {} k {} transposes {}{}", c.m, c.n, c.k, static_cast<int>(c.transpose_a),
                     static_cast<int>(c.transpose_b));
}

void check_case(const Case& c, DType dtype, DType out_dtype, Layout layout, Exec& exec) {
  const Tensor a = random_tensor(exec, shape_of(c.m, c.k, c.transpose_a), dtype, 1, layout);
  const Tensor b = random_tensor(exec, shape_of(c.k, c.n, c.transpose_b), dtype, 2, layout);
  const Tensor bias = random_tensor(exec, {c.n}, out_dtype, 3);
  GemmArgs args{.a = a, .b = b, .transpose_a = c.transpose_a, .transpose_b = c.transpose_b};
  const Tolerance allowed = tolerance(out_dtype, c.k + 2);

  args.c = poisoned_tensor(exec, {c.m, c.n}, out_dtype, layout);
  gemm(args, exec);
  expect_close(args.c, reference(c, a, b, {}), allowed, "product of " + name_of_case(c));

  args.c = poisoned_tensor(exec, {c.m, c.n}, out_dtype, layout);
  args.bias = bias;
  args.alpha = 0.5;
  gemm(args, exec);
  expect_close(args.c, reference(c, a, b, {.alpha = 0.5, .bias = values_of(bias)}), allowed,
               "with bias, " + name_of_case(c));

  args.c = random_tensor(exec, {c.m, c.n}, out_dtype, 4, layout);
  args.bias = {};
  args.beta = -2;
  const std::vector<double> old_c = values_of(args.c);
  gemm(args, exec);
  expect_close(args.c, reference(c, a, b, {.alpha = 0.5, .beta = -2, .old_c = old_c}), allowed,
               "added to the old, " + name_of_case(c));

  const Tensor addend = random_tensor(exec, {c.m, c.n}, out_dtype, 5, layout);
  args.c = poisoned_tensor(exec, {c.m, c.n}, out_dtype, layout);
  args.beta = 0;
  args.addend = addend;
  gemm(args, exec);
  expect_close(args.c, reference(c, a, b, {.alpha = 0.5, .beta = 1, .old_c = values_of(addend)}), allowed,
               "added to another, " + name_of_case(c));
}

TEST(Gemm, MatchesPlainLoops) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Transpose transpose_a : kBoth) {
      for (const Transpose transpose_b : kBoth) {
        check_case({1, 1, 1, transpose_a, transpose_b}, dtype, dtype, Layout::kContiguous, exec);
        for (const Layout layout : kLayouts)
          check_case({37, 19, 53, transpose_a, transpose_b}, dtype, dtype, layout, exec);
      }
    }
    check_case({1, 300, 70, Transpose::kNo, Transpose::kYes}, dtype, dtype, Layout::kContiguous, exec);
    check_case({3, 70, 300, Transpose::kNo, Transpose::kYes}, dtype, dtype, Layout::kPaddedRows, exec);
    // Past the edges of blocks.
    check_case({261, 20, 30, Transpose::kYes, Transpose::kNo}, dtype, dtype, Layout::kContiguous, exec);
    check_case({20, 261, 30, Transpose::kNo, Transpose::kYes}, dtype, dtype, Layout::kContiguous, exec);
    check_case({20, 30, 530, Transpose::kNo, Transpose::kNo}, dtype, dtype, Layout::kContiguous, exec);
  });
}

TEST(Gemm, MatchesPlainLoopsAroundEveryEdgeOfATile) {
  for_each_variant([](DType dtype, Exec& exec) {
    const cpu::GemmTile tile = cpu::gemm_tile(exec.isa(), dtype);
    std::vector<int64_t> row_counts;
    for (int64_t rows = 9; rows <= 9 + 2 * tile.rows; ++rows) row_counts.push_back(rows);
    int64_t turn = 0;
    for (const int64_t m : row_counts) {
      for (const int64_t columns : {tile.columns / 2, tile.columns}) {
        for (const int64_t n : {columns - 1, columns, columns + 1}) {
          ++turn;
          check_case({m, n, 3 + turn % 37, kBoth[turn % 2], kBoth[turn / 2 % 2]}, dtype, dtype,
                     kLayouts[turn / 4 % 2], exec);
        }
      }
    }
  });
}

// The plan is asked whether the product takes what it is here for.
TEST(Gemm, MatchesPlainLoopsOverSeveralStepsAndAreas) {
  for (const Isa isa : available_isas()) {
    const auto exec = make_exec(isa, 2);
    for (const DType out : {DType::kF32, DType::kBF16}) {
      const cpu::GemmProblem wide{.m = 9, .n = 1100, .k = 300, .dtype = DType::kBF16, .out_dtype = out};
      const cpu::GemmPlan plan = cpu::plan_gemm(wide, isa, 2);
      EXPECT_LT(plan.area_columns, wide.n) << plan.str();
      EXPECT_EQ(plan.keeps_sums, out == DType::kBF16) << plan.str();
      check_case({wide.m, wide.n, wide.k, Transpose::kNo, Transpose::kYes}, wide.dtype, out,
                 Layout::kContiguous, *exec);
      const cpu::GemmProblem deep{.m = 3, .n = 520, .k = 2500, .dtype = DType::kBF16, .out_dtype = out};
      EXPECT_LT(cpu::plan_gemm(deep, isa, 2).chunk_depth, deep.k);
      check_case({deep.m, deep.n, deep.k, Transpose::kYes, Transpose::kNo}, deep.dtype, out,
                 Layout::kPaddedRows, *exec);
    }
  }
  const auto exec = make_exec(best_isa(), 2);
  const cpu::GemmProblem tall{
      .m = 2100, .n = 520, .k = 257, .dtype = DType::kBF16, .out_dtype = DType::kBF16};
  EXPECT_LT(cpu::plan_gemm(tall, best_isa(), 2).area_rows, tall.m);
  check_case({tall.m, tall.n, tall.k, Transpose::kNo, Transpose::kNo}, tall.dtype, tall.out_dtype,
             Layout::kContiguous, *exec);
}

TEST(Gemm, HalfInputsIntoF32) {
  for (const Isa isa : available_isas()) {
    const auto exec = make_exec(isa, 2);
    for (const DType dtype : {DType::kBF16, DType::kF16}) {
      for (const Layout layout : kLayouts) {
        check_case({37, 19, 53, Transpose::kYes, Transpose::kNo}, dtype, DType::kF32, layout, *exec);
        check_case({20, 30, 530, Transpose::kNo, Transpose::kYes}, dtype, DType::kF32, layout, *exec);
      }
    }
  }
}

TEST(Gemm, EmptyDimensions) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Transpose transpose : kBoth) {
      check_case({0, 5, 3, transpose, transpose}, dtype, dtype, Layout::kContiguous, exec);
      check_case({5, 0, 3, transpose, transpose}, dtype, dtype, Layout::kContiguous, exec);
      check_case({5, 3, 0, transpose, transpose}, dtype, dtype, Layout::kContiguous, exec);
    }
  });
}

TEST(Gemm, FoldsLeadingDimensions) {
  Exec exec;
  const Tensor a = random_tensor(exec, {2, 3, 4}, DType::kF32, 1);
  const Tensor b = random_tensor(exec, {4, 5}, DType::kF32, 2);
  const Tensor c = poisoned_tensor(exec, {2, 3, 5}, DType::kF32);
  gemm({.a = a, .b = b, .c = c}, exec);
  expect_close(c, reference({6, 5, 4, Transpose::kNo, Transpose::kNo}, a.view({6, 4}), b, {}),
               tolerance(DType::kF32, 4), "[2, 3, 4] by [4, 5]");
}

TEST(Gemm, SameBitsForAnyNumberOfThreads) {
  for (const DType dtype : kFloatTypes) {
    SCOPED_TRACE(name_of(dtype));
    for (const Case& c : {Case{300, 520, 700, Transpose::kNo, Transpose::kYes},
                          Case{257, 300, 1025, Transpose::kYes, Transpose::kNo},
                          Case{5, 1030, 260, Transpose::kNo, Transpose::kNo}}) {
      SCOPED_TRACE(name_of_case(c));
      expect_same_for_any_threads([&](Exec& exec) {
        const Tensor a = random_tensor(exec, shape_of(c.m, c.k, c.transpose_a), dtype, 1);
        const Tensor b = random_tensor(exec, shape_of(c.k, c.n, c.transpose_b), dtype, 2);
        const Tensor out = exec.empty({c.m, c.n}, dtype);
        gemm({.a = a, .b = b, .c = out, .transpose_a = c.transpose_a, .transpose_b = c.transpose_b}, exec);
        return bits_of(out);
      });
    }
  }
}

TEST(Gemm, PlanIsBoundedAndItsSumsDoNotDependOnTheThreads) {
  for (const Isa isa : available_isas()) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t m : {1, 17, 256, 1024, 4096, 50257}) {
        for (const int64_t n : {1, 40, 256, 768, 8192}) {
          for (const int64_t k : {1, 64, 768, 4096, 1 << 20}) {
            const cpu::GemmProblem problem{.m = m, .n = n, .k = k, .dtype = dtype, .out_dtype = dtype};
            const int64_t depth = cpu::plan_gemm(problem, isa, 1).depth;
            for (const int num_threads : {1, 2, 7, 64}) {
              const cpu::GemmPlan plan = cpu::plan_gemm(problem, isa, num_threads);
              SCOPED_TRACE(fmt::format("{} {} {} {}: {}", name_of(dtype), m, n, k, plan.str()));
              EXPECT_EQ(plan.depth, depth);
              EXPECT_EQ(plan.chunk_depth % depth, 0);
              EXPECT_LE(plan.chunk_depth * plan.area_columns, 5 << 18);
              EXPECT_LE(plan.block_rows * depth, 1 << 16);
              EXPECT_EQ(plan.block_rows % 2, 0);
              EXPECT_EQ(plan.area_columns % plan.tile.columns, 0);
              EXPECT_EQ(plan.block_columns % plan.tile.columns, 0);
              EXPECT_TRUE(1 <= plan.num_threads && plan.num_threads <= num_threads);
              EXPECT_TRUE(!plan.keeps_sums || plan.area_rows * plan.area_columns <= 5 << 18);
            }
          }
        }
      }
    }
  }
}

TEST(Gemm, RefusesWhatDoesNotFit) {
  Exec exec;
  const Tensor a = exec.zeros({2, 3}, DType::kF32);
  const Tensor b = exec.zeros({3, 4}, DType::kF32);
  const Tensor c = exec.zeros({2, 4}, DType::kF32);
  EXPECT_THROW(gemm({.a = a, .b = a, .c = c}, exec), Error);
  EXPECT_THROW(gemm({.a = a, .b = b, .c = a}, exec), Error);
  EXPECT_THROW(gemm({.a = a, .b = exec.zeros({3, 4}, DType::kBF16), .c = c}, exec), Error);
  EXPECT_THROW(gemm({.a = a, .b = b, .c = exec.zeros({2, 4}, DType::kF64)}, exec), Error);
  EXPECT_THROW(gemm({.a = a, .b = b, .c = c, .beta = 1, .bias = exec.zeros({4}, DType::kF32)}, exec), Error);
  EXPECT_THROW(gemm({.a = a, .b = b, .c = c, .bias = exec.zeros({3}, DType::kF32)}, exec), Error);
  EXPECT_THROW(gemm({.a = a, .b = b.transpose(0, 1), .c = c, .transpose_b = Transpose::kYes}, exec), Error);
  EXPECT_THROW(gemm({.a = a, .b = b}, exec), Error);
  const auto sum = [&](const Tensor& addend, double beta) {
    gemm({.a = a, .b = b, .c = c, .beta = beta, .addend = addend}, exec);
  };
  EXPECT_NO_THROW(sum(exec.zeros({2, 4}, DType::kF32), 0));
  EXPECT_THROW(sum(exec.zeros({2, 4}, DType::kF32), 1), Error);
  EXPECT_THROW(sum(exec.zeros({2, 5}, DType::kF32), 0), Error);
  EXPECT_THROW(sum(exec.zeros({2, 5}, DType::kF32).slice(1, 0, 4), 0), Error);
  EXPECT_THROW(sum(exec.zeros({2, 4}, DType::kF64), 0), Error);
  EXPECT_THROW(sum(c, 0), Error);
}

TEST(GemmPerformance, TrainingShapes) {
  if (!performance_wanted()) GTEST_SKIP() << "MEGALITH_PERF=1 runs it";
  Exec exec;
  for (const Case& c : {Case{2048, 2048, 2048, Transpose::kNo, Transpose::kNo},
                        Case{4096, 768, 256, Transpose::kNo, Transpose::kYes},
                        Case{4096, 8192, 256, Transpose::kNo, Transpose::kYes},
                        Case{4096, 256, 768, Transpose::kNo, Transpose::kNo},
                        Case{768, 256, 4096, Transpose::kYes, Transpose::kNo},
                        Case{1024, 3072, 768, Transpose::kNo, Transpose::kYes},
                        Case{1024, 768, 3072, Transpose::kNo, Transpose::kYes},
                        Case{3072, 768, 1024, Transpose::kYes, Transpose::kNo},
                        Case{1024, 50257, 768, Transpose::kNo, Transpose::kYes},
                        Case{1, 3072, 768, Transpose::kNo, Transpose::kYes}}) {
    double seconds[2];
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      GemmArgs args{.a = random_tensor(exec, shape_of(c.m, c.k, c.transpose_a), dtype, 1),
                    .b = random_tensor(exec, shape_of(c.k, c.n, c.transpose_b), dtype, 2),
                    .c = exec.zeros({c.m, c.n}, dtype),
                    .transpose_a = c.transpose_a,
                    .transpose_b = c.transpose_b};
      seconds[dtype == DType::kBF16] = measure_seconds([&] { gemm(args, exec); });
    }
    const double gigaflops = 2e-9 * static_cast<double>(c.m * c.n * c.k);
    std::printf("gemm %-44s f32 %7.1f GFLOP/s, bf16 %7.1f GFLOP/s, bf16 takes %.2f of f32's time\n",
                name_of_case(c).c_str(), gigaflops / seconds[0], gigaflops / seconds[1],
                seconds[1] / seconds[0]);
  }
}

}  // namespace
}  // namespace megalith
