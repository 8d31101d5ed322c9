#include "megalith/ops/random_fill.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;

TEST(FillNormal, DrawsTheDeviatesOfTheKey) {
  for_each_variant([](DType dtype, Exec& exec) {
    const RngKey rng{3, 4};
    for (const int64_t first : {0, 1, 6}) {
      const Tensor x = poisoned_tensor(exec, {5, 7}, dtype);
      fill_normal({.x = x, .mean = 0.5, .std = 2, .rng = rng, .first_element = first}, exec);
      std::vector<double> expected;
      for (int64_t i = first; i < first + 35; ++i) {
        const auto normals = normal_from_block(rng.block(static_cast<uint64_t>(i / 4)));
        expected.push_back(0.5 + 2 * static_cast<double>(normals[static_cast<size_t>(i % 4)]));
      }
      expect_close(x, expected, tolerance(dtype, 1), "fill_normal");
    }
  });
}

TEST(FillNormal, AShardEqualsTheSliceOfTheWhole) {
  Exec exec;
  const Tensor whole = exec.empty({1000}, DType::kF32);
  fill_normal({.x = whole, .std = 0.02, .rng = {9, 9}}, exec);
  for (const int64_t begin : {0, 3, 401}) {
    const Tensor shard = exec.empty({333}, DType::kF32);
    fill_normal({.x = shard, .std = 0.02, .rng = {9, 9}, .first_element = begin}, exec);
    EXPECT_EQ(bits_of(shard), bits_of(whole.slice(0, begin, begin + 333)));
  }
}

TEST(FillNormal, HasTheMomentsOfTheNormalDistribution) {
  Exec exec;
  constexpr int64_t kCount = 1 << 18;
  const Tensor x = exec.empty({kCount}, DType::kF64);
  fill_normal({.x = x, .rng = {5, 6}}, exec);
  double moments[5] = {};
  for (const double value : values_of(x)) {
    for (int k = 1; k <= 4; ++k) moments[k] += std::pow(value, k) / kCount;
  }
  // Five standard deviations of the sample moments: Var(x^k) = E(x^2k) - E(x^k)^2 = 1, 2, 15, 96.
  const double n = kCount;
  EXPECT_NEAR(moments[1], 0, 5 * std::sqrt(1 / n));
  EXPECT_NEAR(moments[2], 1, 5 * std::sqrt(2 / n));
  EXPECT_NEAR(moments[3], 0, 5 * std::sqrt(15 / n));
  EXPECT_NEAR(moments[4], 3, 5 * std::sqrt(96 / n));
}

TEST(FillNormal, DoesNotDependOnTheThreadsOrTheInstructionSet) {
  std::vector<uint8_t> first;
  expect_same_for_any_threads([&](Exec& exec) {
    const Tensor x = exec.empty({10007}, DType::kF32);
    fill_normal({.x = x, .rng = {1, 1}}, exec);
    if (first.empty()) first = bits_of(x);
    EXPECT_EQ(bits_of(x), first);
    return bits_of(x);
  });
}

TEST(FillNormalPerformance, Table) {
  if (!performance_wanted()) GTEST_SKIP() << "set MEGALITH_PERF=1";
  Exec exec;
  const Tensor x = exec.zeros({4 << 20}, DType::kF32);
  report_bandwidth("fill_normal f32 4M", x.nbytes(), exec.num_threads(), [&] {
    fill_normal({.x = x, .std = 0.02, .rng = {1, 1}}, exec);
  });
}

}  // namespace
}  // namespace megalith
