#include "megalith/ops/elementwise.h"

#include <cmath>
#include <limits>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

const Shape kShapes[] = {{1, 1}, {3, 7}, {5, 64}, {2, 3, 17}, {129, 33}, {0, 5}, {2, 20000}};

TEST(Add, MatchesTheSumOfTheRoundedInputs) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Shape& shape : kShapes) {
      for (const Layout layout : kLayouts) {
        const Tensor a = random_tensor(exec, shape, dtype, 1, layout);
        const Tensor b = random_tensor(exec, shape, dtype, 2, Layout::kContiguous);
        const Tensor out = poisoned_tensor(exec, shape, dtype, layout);
        add(a, b, out, exec);
        std::vector<double> expected = values_of(a);
        const std::vector<double> other = values_of(b);
        for (size_t i = 0; i < expected.size(); ++i) expected[i] += other[i];
        expect_close(out, expected, tolerance(dtype, 1), "a + b");
        add(a, b, a, exec);
        EXPECT_EQ(bits_of(a), bits_of(out)) << "in place";
      }
    }
  });
}

TEST(Add, NamesWhatDoesNotFit) {
  Exec exec;
  const Tensor a = exec.zeros({2, 3}, DType::kF32);
  EXPECT_THAT(
      [&] {
        add(a, exec.zeros({3, 2}, DType::kF32), a, exec);
      },
      ThrowsMessage<Error>(HasSubstr("add: b has shape [3, 2], not [2, 3]")));
  EXPECT_THAT(
      [&] {
        add(a, a, exec.zeros({2, 3}, DType::kBF16), exec);
      },
      ThrowsMessage<Error>(HasSubstr("add: out is bf16, not f32")));
  EXPECT_THAT([&] { add(a, Tensor(), a, exec); }, ThrowsMessage<Error>(HasSubstr("add: b is not given")));
  const Tensor ids = exec.zeros({2, 3}, DType::kI32);
  EXPECT_THAT([&] { add(ids, ids, ids, exec); }, ThrowsMessage<Error>(HasSubstr("allowed: f64, f32, bf16")));
  const Tensor turned = exec.zeros({3, 2}, DType::kF32).transpose(0, 1);
  EXPECT_THAT([&] { add(a, turned, a, exec); }, ThrowsMessage<Error>(HasSubstr("add: b")));
}

TEST(SumTerms, AddsInOrderAndRoundsOnce) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const int64_t num_terms : {1, 2, 5}) {
      for (const Shape& shape : {Shape{1, 1}, Shape{3, 7}, Shape{5, 64}, Shape{0, 5}, Shape{2, 20000}}) {
        const Tensor terms =
            random_tensor(exec, {num_terms, shape[0], shape[1]}, dtype, 1, Layout::kContiguous);
        const Tensor out = poisoned_tensor(exec, shape, dtype, Layout::kContiguous);
        sum_terms(terms, out, exec);
        const std::vector<double> values = values_of(terms);
        const auto count = static_cast<size_t>(shape.numel());
        std::vector<double> expected(count, 0);
        for (size_t i = 0; i < values.size(); ++i) {
          double& sum = expected[i % count];
          sum = dtype == DType::kF64 ? sum + values[i]
                                     : static_cast<float>(sum) + static_cast<float>(values[i]);
        }
        expect_close(out, expected, tolerance(dtype, 0), "sum of terms");
      }
    }
  });
}

TEST(SumTerms, NamesWhatDoesNotFit) {
  Exec exec;
  EXPECT_THAT(
      [&] {
        sum_terms(exec.zeros({2, 3}, DType::kF32), exec.zeros({2}, DType::kF32), exec);
      },
      ThrowsMessage<Error>(HasSubstr("sum_terms: terms [2, 3] of [2]")));
}

TEST(Scale, MultipliesByAFactorOrByOnePerRow) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Shape& shape : kShapes) {
      for (const Layout layout : kLayouts) {
        const Tensor x = random_tensor(exec, shape, dtype, 3, layout);
        const std::vector<double> before = values_of(x);
        const DType sum_dtype = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
        const Tensor factors = random_tensor(exec, {x.rows()}, sum_dtype, 4);
        const std::vector<double> row_factors = values_of(factors);
        const Tensor out = poisoned_tensor(exec, shape, dtype, Layout::kContiguous);
        scale_rows(x, factors, out, exec);
        std::vector<double> expected = before;
        for (size_t i = 0; i < expected.size(); ++i) {
          expected[i] *= row_factors[i / static_cast<size_t>(shape[-1])];
        }
        expect_close(out, expected, tolerance(dtype, 1), "scale_rows");

        scale_in_place(x, -0.375, exec);
        for (size_t i = 0; i < expected.size(); ++i) expected[i] = -0.375 * before[i];
        expect_close(x, expected, tolerance(dtype, 1), "scale_in_place");
      }
    }
  });
}

TEST(Copy, ConvertsBetweenAllFloatingTypesAndLayouts) {
  constexpr DType kTypes[] = {DType::kF64, DType::kF32, DType::kBF16, DType::kF16};
  for (const Isa isa : available_isas()) {
    const auto exec = make_exec(isa, 2);
    for (const DType from_dtype : kTypes) {
      for (const DType to_dtype : kTypes) {
        SCOPED_TRACE(std::string(name_of(isa)) + ", " + name_of(from_dtype) + " to " + name_of(to_dtype));
        for (const Shape& shape : kShapes) {
          const Tensor from = random_tensor(*exec, shape, from_dtype, 5, Layout::kPaddedRows);
          const Tensor to = poisoned_tensor(*exec, shape, to_dtype);
          copy(from, to, *exec);
          // f64 reaches the 16-bit types by way of f32.
          expect_close(to, values_of(from), {.relative = 1.001 * unit_roundoff(to_dtype), .absolute = 1e-7},
                       "copy");
          const Tensor back = poisoned_tensor(*exec, shape, to_dtype, Layout::kPaddedRows);
          copy(to, back, *exec);
          EXPECT_EQ(bits_of(back), bits_of(to));
        }
      }
    }
  }
}

TEST(Copy, TransposesHeadsAndSequence) {
  for_each_variant([](DType dtype, Exec& exec) {
    const Tensor from = random_tensor(exec, {2, 5, 3, 8}, dtype, 6);
    const Tensor to = poisoned_tensor(exec, {2, 3, 5, 8}, dtype);
    copy(from.transpose(1, 2), to, exec);
    EXPECT_EQ(bits_of(to), bits_of(from.transpose(1, 2)));
    const Tensor turned = poisoned_tensor(exec, {8, 3, 5, 2}, dtype);
    copy(from.transpose(0, 3).transpose(1, 2), turned, exec);
    EXPECT_EQ(bits_of(turned), bits_of(from.transpose(0, 3).transpose(1, 2)));
  });
}

TEST(Copy, MovesIntegersAndRefusesToConvertThem) {
  Exec exec;
  const Tensor ids = ids_tensor(exec, 70, 1000, 7);
  const Tensor to = exec.zeros({70}, DType::kI32);
  copy(ids, to, exec);
  EXPECT_EQ(bits_of(to), bits_of(ids));
  EXPECT_THAT([&] { copy(ids, exec.zeros({70}, DType::kF32), exec); },
              ThrowsMessage<Error>(HasSubstr("copy: from i32 to f32")));
}

TEST(Fill, WritesEveryElementAndNothingElse) {
  Exec exec;
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16, DType::kI32}) {
    const Tensor wide = exec.zeros({4, 10}, dtype);
    fill(wide, 7, exec);
    fill(wide.slice(1, 2, 5), -3, exec);
    const std::vector<double> values = values_of(wide);
    for (size_t i = 0; i < values.size(); ++i) {
      EXPECT_EQ(values[i], i % 10 >= 2 && i % 10 < 5 ? -3 : 7) << name_of(dtype) << " " << i;
    }
  }
}

TEST(SumRows, MatchesThePlainSumAndAccumulates) {
  for_each_variant([](DType dtype, Exec& exec) {
    const DType sum_dtype = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
    for (const Shape& shape : {Shape{1, 1}, {3, 7}, {0, 5}, {1000, 33}, {64, 130}, {4, 9, 21}}) {
      for (const Layout layout : kLayouts) {
        const Tensor x = random_tensor(exec, shape, dtype, 8, layout);
        const std::vector<double> values = values_of(x);
        const auto cols = static_cast<size_t>(shape[-1]);
        std::vector<double> expected(cols);
        for (size_t i = 0; i < values.size(); ++i) expected[i % cols] += values[i];
        const Tensor out = poisoned_tensor(exec, {shape[-1]}, sum_dtype);
        sum_rows({.x = x, .out = out}, exec);
        expect_close(out, expected, tolerance(sum_dtype, x.rows() + 1), "sum_rows");
        sum_rows({.x = x, .out = out, .accumulate = true}, exec);
        for (double& each : expected) each *= 2;
        expect_close(out, expected, tolerance(sum_dtype, x.rows() + 1, 2), "sum_rows, accumulated");
      }
    }
  });
}

TEST(SumRows, DoesNotDependOnTheThreads) {
  expect_same_for_any_threads([](Exec& exec) {
    const Tensor x = random_tensor(exec, {777, 301}, DType::kBF16, 9);
    const Tensor out = poisoned_tensor(exec, {301}, DType::kF32);
    sum_rows({.x = x, .out = out}, exec);
    return bits_of(out);
  });
}

TEST(ElementwisePerformance, Table) {
  if (!performance_wanted()) GTEST_SKIP() << "set MEGALITH_PERF=1";
  Exec exec;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const auto size = static_cast<int64_t>(size_of(dtype));
    for (const Shape& shape : {Shape{4096, 256}, {4096, 768}, {16384, 1024}}) {
      const Tensor a = random_tensor(exec, shape, dtype, 1);
      const Tensor b = random_tensor(exec, shape, dtype, 2);
      const Tensor out = exec.zeros(shape, dtype);
      const std::string suffix = std::string(" ") + name_of(dtype) + " " + shape.str();
      report_bandwidth("add" + suffix, 3 * size * shape.numel(), exec.num_threads(),
                       [&] { add(a, b, out, exec); });
      report_bandwidth("copy" + suffix, 2 * size * shape.numel(), exec.num_threads(),
                       [&] { copy(a, out, exec); });
      const Tensor sums = exec.zeros({shape[-1]}, DType::kF32);
      report_bandwidth("sum_rows" + suffix, size * shape.numel(), exec.num_threads(),
                       [&] { sum_rows({.x = a, .out = sums}, exec); });
    }
  }
}

}  // namespace
}  // namespace megalith
