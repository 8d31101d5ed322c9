#include "megalith/ops/rope.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/ops/elementwise.h"

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t kPositions = 50;

double angle(int64_t position, int64_t pair, int64_t pairs) {
  return static_cast<double>(position) *
         std::pow(10000.0, -static_cast<double>(pair) / static_cast<double>(pairs));
}

RopeArgs with_tables(Exec& exec, int64_t tokens, int64_t pairs, DType dtype) {
  std::vector<double> cosines, sines;
  for (int64_t p = 0; p < kPositions; ++p) {
    for (int64_t i = 0; i < pairs; ++i) {
      cosines.push_back(std::cos(angle(p, i, pairs)));
      sines.push_back(std::sin(angle(p, i, pairs)));
    }
  }
  const DType table_dtype = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  return {.cos = tensor_of(exec, cosines, {kPositions, pairs}, table_dtype),
          .sin = tensor_of(exec, sines, {kPositions, pairs}, table_dtype),
          .positions = ids_tensor(exec, tokens, kPositions, 9)};
}

struct Sizes {
  int64_t tokens, heads, head_dim, pairs;
};

TEST(Rope, TurnsPairsInTheHalfSplitLayout) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Sizes& size :
         {Sizes{5, 3, 8, 4}, {1, 1, 2, 1}, {17, 2, 34, 11}, {0, 2, 8, 4}, {300, 4, 64, 32}}) {
      for (const Layout layout : kLayouts) {
        RopeArgs args = with_tables(exec, size.tokens, size.pairs, dtype);
        // A slice of fused rows: heads of q between other columns.
        const Tensor fused =
            random_tensor(exec, {size.tokens, size.heads + 2, size.head_dim}, dtype, 3, layout);
        args.x = fused.slice(1, 1, 1 + size.heads);
        const std::vector<double> before = values_of(args.x);
        const std::vector<uint8_t> neighbours = bits_of(fused.slice(1, 0, 1));
        rope(args, exec);
        std::vector<double> expected = before;
        const std::vector<double> positions = values_of(args.positions);
        for (int64_t t = 0; t < size.tokens; ++t) {
          for (int64_t h = 0; h < size.heads; ++h) {
            for (int64_t i = 0; i < size.pairs; ++i) {
              const auto a = static_cast<size_t>((t * size.heads + h) * size.head_dim + i);
              const size_t b = a + static_cast<size_t>(size.pairs);
              const double turn =
                  angle(static_cast<int64_t>(positions[static_cast<size_t>(t)]), i, size.pairs);
              expected[a] = before[a] * std::cos(turn) - before[b] * std::sin(turn);
              expected[b] = before[b] * std::cos(turn) + before[a] * std::sin(turn);
            }
          }
        }
        expect_close(args.x, expected, tolerance(dtype, 2), "rope");
        EXPECT_EQ(bits_of(fused.slice(1, 0, 1)), neighbours);
        args.direction = RopeDirection::kBackward;
        rope(args, exec);
        Tolerance twice = tolerance(dtype, 4);
        twice.absolute += 4 * unit_roundoff(dtype);  // of what the first turn rounded
        expect_close(args.x, before, twice, "there and back");
      }
    }
  });
}

TEST(Rope, GradientMatchesFiniteDifferences) {
  Exec exec;
  const Shape shape{6, 2, 10};
  RopeArgs args = with_tables(exec, 6, 4, DType::kF64);
  const Tensor x = random_tensor(exec, shape, DType::kF64, 1);
  const Tensor d_y = random_tensor(exec, shape, DType::kF64, 2);
  const std::vector<double> weights = values_of(d_y);
  args.x = d_y;
  args.direction = RopeDirection::kBackward;
  rope(args, exec);
  const auto loss = [&](const std::vector<double>& values) {
    RopeArgs forward = args;
    forward.x = tensor_of(exec, values, shape, DType::kF64);
    forward.direction = RopeDirection::kForward;
    rope(forward, exec);
    return dot(values_of(forward.x), weights);
  };
  expect_gradient(loss, values_of(x), values_of(d_y), "d_x");
}

TEST(Rope, NamesAPositionBeyondTheTable) {
  Exec exec;
  RopeArgs args = with_tables(exec, 3, 2, DType::kF32);
  args.x = exec.zeros({3, 1, 4}, DType::kF32);
  args.positions = exec.from_host<int32_t>(std::vector<int32_t>{0, 50, 1}, {3});
  EXPECT_THAT([&] { rope(args, exec); },
              ThrowsMessage<Error>(HasSubstr("position 50 of token 1 is outside the table of 50")));
  args.x = exec.zeros({3, 1, 3}, DType::kF32);
  EXPECT_THAT([&] { rope(args, exec); }, ThrowsMessage<Error>(HasSubstr("a head has 3 elements")));
}

TEST(RopePerformance, Table) {
  if (!performance_wanted()) GTEST_SKIP() << "set MEGALITH_PERF=1";
  Exec exec;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const Shape& shape : {Shape{4096, 8, 32}, {1024, 12, 64}}) {
      RopeArgs args = with_tables(exec, shape[0], shape[2] / 2, dtype);
      args.x = random_tensor(exec, shape, dtype, 1);
      report_bandwidth(std::string("rope ") + name_of(dtype) + " " + shape.str(),
                       2 * static_cast<int64_t>(size_of(dtype)) * shape.numel(), exec.num_threads(),
                       [&] { rope(args, exec); });
    }
  }
}

}  // namespace
}  // namespace megalith
