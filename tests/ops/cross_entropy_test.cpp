#include "megalith/ops/cross_entropy.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;

DType loss_dtype(DType dtype) {
  return dtype == DType::kF64 ? DType::kF64 : DType::kF32;
}

struct Expected {
  std::vector<double> loss, d_logits;
};

Expected reference(const std::vector<double>& logits, const std::vector<int32_t>& labels) {
  Expected expected;
  const size_t columns = labels.empty() ? 0 : logits.size() / labels.size();
  for (size_t row = 0; row < labels.size(); ++row) {
    const double* x = logits.data() + row * columns;
    double largest = x[0];
    for (size_t j = 1; j < columns; ++j) largest = std::max(largest, x[j]);
    double total = 0;
    for (size_t j = 0; j < columns; ++j) total += std::exp(x[j] - largest);
    const bool is_ignored = labels[row] < 0;
    const double lse = largest + std::log(total);
    expected.loss.push_back(is_ignored ? 0 : lse - x[labels[row]]);
    for (size_t j = 0; j < columns; ++j) {
      const double one_hot = static_cast<int32_t>(j) == labels[row] ? 1 : 0;
      expected.d_logits.push_back(is_ignored ? 0 : std::exp(x[j] - lse) - one_hot);
    }
  }
  return expected;
}

std::vector<int32_t> some_labels(int64_t rows, int64_t columns) {
  std::vector<int32_t> labels;
  for (int64_t row = 0; row < rows; ++row)
    labels.push_back(row % 4 == 2 ? -100 : static_cast<int32_t>((row * 7919 + columns - 1) % columns));
  return labels;
}

// The loss is of the size of the spread of the logits and the log of their number.
Tolerance allowed_for(DType dtype, int64_t columns, double largest) {
  return tolerance(dtype, 4, 2 * largest + std::log(static_cast<double>(columns) + 1));
}

void check_case(int64_t rows, int64_t columns, double scale, DType dtype, Layout layout, Exec& exec) {
  std::vector<double> values = values_of(random_tensor(exec, {rows, columns}, DType::kF64, 5));
  for (double& value : values) value *= scale;
  const Tensor logits = tensor_of(exec, values, {rows, columns}, dtype, layout);
  const std::vector<int32_t> labels = some_labels(rows, columns);
  const Expected expected = reference(values_of(logits), labels);
  const Tolerance allowed = allowed_for(dtype, columns, scale);
  const std::string what = fmt::format("[{}, {}] times {}", rows, columns, scale);

  CrossEntropyArgs args{.logits = logits,
                        .labels = exec.from_host<int32_t>(labels, {rows}),
                        .loss = poisoned_tensor(exec, {rows}, loss_dtype(dtype))};
  cross_entropy(args, exec);
  expect_close(args.loss, expected.loss, allowed, "loss alone, " + what);

  args.loss = poisoned_tensor(exec, {rows}, loss_dtype(dtype));
  args.d_logits = poisoned_tensor(exec, {rows, columns}, dtype, layout);
  cross_entropy(args, exec);
  expect_close(args.loss, expected.loss, allowed, "loss, " + what);
  expect_close(args.d_logits, expected.d_logits, allowed, "d_logits, " + what);

  args.d_logits = logits;
  cross_entropy(args, exec);
  expect_close(logits, expected.d_logits, allowed, "in place, " + what);
}

TEST(CrossEntropy, MatchesPlainLoops) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Layout layout : kLayouts) {
      for (const int64_t columns : {1, 7, 64, 1000, 1024, 2500})
        check_case(5, columns, 4, dtype, layout, exec);
    }
    check_case(0, 8, 1, dtype, Layout::kContiguous, exec);
    check_case(3, 300, 80, dtype, Layout::kContiguous, exec);
  });
}

TEST(CrossEntropy, LargeAndMaskedLogits) {
  const double infinity = std::numeric_limits<double>::infinity();
  for_each_variant([&](DType dtype, Exec& exec) {
    // Two equal columns, far from zero, and one without weight.
    const double big = dtype == DType::kBF16 ? 512 : 30000;
    const Tensor logits = tensor_of(exec, {big, big, -infinity, -big, -big, -infinity}, {2, 3}, dtype);
    const Tensor loss = poisoned_tensor(exec, {2}, loss_dtype(dtype));
    cross_entropy({.logits = logits,
                   .labels = exec.from_host<int32_t>(std::vector<int32_t>{0, 1}, {2}),
                   .loss = loss,
                   .d_logits = logits},
                  exec);
    expect_close(loss, {std::log(2.0), std::log(2.0)}, tolerance(loss_dtype(dtype), 1), "loss");
    expect_close(logits, {-0.5, 0.5, 0, 0.5, -0.5, 0}, tolerance(dtype, 1), "d_logits");
  });
}

TEST(CrossEntropy, NotANumberComesThrough) {
  for_each_variant([](DType dtype, Exec& exec) {
    std::vector<double> values(50, 0.0);
    values[33] = std::numeric_limits<double>::quiet_NaN();
    const Tensor loss = exec.zeros({1}, loss_dtype(dtype));
    cross_entropy({.logits = tensor_of(exec, values, {1, 50}, dtype),
                   .labels = exec.zeros({1}, DType::kI32),
                   .loss = loss},
                  exec);
    EXPECT_TRUE(std::isnan(values_of(loss)[0]));
  });
}

TEST(CrossEntropy, GradientIsThatOfTheLoss) {
  Exec exec;
  const int64_t rows = 4;
  const int64_t columns = 21;
  const std::vector<int32_t> label_values = some_labels(rows, columns);
  const Tensor labels = exec.from_host<int32_t>(label_values, {rows});
  const std::vector<double> place = values_of(random_tensor(exec, {rows, columns}, DType::kF64, 3));
  const auto total_loss = [&](const std::vector<double>& values) {
    const Tensor loss = exec.empty({rows}, DType::kF64);
    cross_entropy(
        {.logits = tensor_of(exec, values, {rows, columns}, DType::kF64), .labels = labels, .loss = loss},
        exec);
    double total = 0;
    for (const double value : values_of(loss)) total += value;
    return total;
  };
  const Tensor d_logits = poisoned_tensor(exec, {rows, columns}, DType::kF64);
  cross_entropy({.logits = tensor_of(exec, place, {rows, columns}, DType::kF64),
                 .labels = labels,
                 .loss = exec.empty({rows}, DType::kF64),
                 .d_logits = d_logits},
                exec);
  expect_gradient(total_loss, place, values_of(d_logits), "d_logits");
}

TEST(CrossEntropy, SameBitsForAnyNumberOfThreads) {
  for (const DType dtype : kFloatTypes) {
    expect_same_for_any_threads([&](Exec& exec) {
      const Tensor logits = random_tensor(exec, {70, 1500}, dtype, 9);
      const Tensor loss = exec.empty({70}, loss_dtype(dtype));
      const Tensor labels = exec.from_host<int32_t>(some_labels(70, 1500), {70});
      cross_entropy({.logits = logits, .labels = labels, .loss = loss, .d_logits = logits}, exec);
      std::vector<uint8_t> bits = bits_of(logits);
      const std::vector<uint8_t> loss_bits = bits_of(loss);
      bits.insert(bits.end(), loss_bits.begin(), loss_bits.end());
      return bits;
    });
  }
}

TEST(CrossEntropy, RefusesWhatDoesNotFit) {
  Exec exec;
  const Tensor logits = exec.zeros({2, 3}, DType::kF32);
  const Tensor labels = exec.zeros({2}, DType::kI32);
  const Tensor loss = exec.zeros({2}, DType::kF32);
  labels.data<int32_t>()[1] = 3;
  try {
    cross_entropy({.logits = logits, .labels = labels, .loss = loss}, exec);
    FAIL() << "a label of 3 passed with 3 columns";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("label 3 of token 1"), std::string::npos) << error.what();
  }
  labels.data<int32_t>()[1] = 2;
  EXPECT_THROW(
      cross_entropy({.logits = logits, .labels = labels, .loss = exec.zeros({3}, DType::kF32)}, exec), Error);
  EXPECT_THROW(cross_entropy({.logits = logits, .labels = exec.zeros({3}, DType::kI32), .loss = loss}, exec),
               Error);
  EXPECT_THROW(cross_entropy({.logits = logits, .labels = labels, .loss = loss, .d_logits = loss}, exec),
               Error);
}

TEST(CrossEntropyPerformance, InPlace) {
  if (!performance_wanted()) GTEST_SKIP() << "MEGALITH_PERF=1 runs it";
  Exec exec;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Tensor logits = random_tensor(exec, {1024, 50257}, dtype, 1);
    const Tensor labels = exec.zeros({1024}, DType::kI32);
    const Tensor loss = exec.empty({1024}, DType::kF32);
    report_bandwidth(
        fmt::format("cross_entropy {} [1024, 50257] in place", name_of(dtype)), 2 * logits.nbytes(),
        exec.num_threads(),
        [&] { cross_entropy({.logits = logits, .labels = labels, .loss = loss, .d_logits = logits}, exec); });
  }
}

}  // namespace
}  // namespace megalith
