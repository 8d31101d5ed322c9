// Every layout of ranks computes what one rank computes: losses, gradient norms and weights of ten steps.
#include <cmath>
#include <map>

#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"

#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;
using testing::LayoutResult;
using testing::run_layout;

// Another layout sums the same f32 terms in another order: a relative error of about eps sqrt(n) per sum of n
// terms, n up to the tokens of a step times the width of a layer. AdamW divides by the root of the second
// moment, so an early step turns the relative error of a gradient into a share of the learning rate.
constexpr double kEps = 0x1p-24;
constexpr double kTerms = 4 * 24 * 96;
const double kLossTolerance = 20 * kEps * std::sqrt(kTerms);

class Layouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(Layouts, TenStepsEqualOneRank) {
  const LayoutCase& layout = GetParam();
  LayoutCase single = layout;
  single.parallel = {};
  single.num_ranks = 1;
  const LayoutResult expected = run_layout(single, 10);
  const LayoutResult actual = run_layout(layout, 10);

  ASSERT_EQ(actual.losses.size(), expected.losses.size());
  EXPECT_LT(expected.losses.back(), expected.losses.front());
  for (size_t step = 0; step < expected.losses.size(); ++step) {
    EXPECT_NEAR(actual.losses[step], expected.losses[step], kLossTolerance * expected.losses[step]) << step;
    EXPECT_NEAR(actual.grad_norms[step], expected.grad_norms[step],
                kLossTolerance * expected.grad_norms[step] * 5)
        << step;
  }
  ASSERT_EQ(actual.first_gradients.size(), expected.first_gradients.size());
  for (const auto& [name, values] : expected.first_gradients) {
    const std::vector<double>& other = actual.first_gradients.at(name);
    ASSERT_EQ(other.size(), values.size()) << name;
    double largest = 0, worst = 0;
    for (size_t i = 0; i < values.size(); ++i) {
      largest = std::max(largest, std::abs(values[i]));
      worst = std::max(worst, std::abs(values[i] - other[i]));
    }
    EXPECT_LE(worst, kLossTolerance * largest) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(All, Layouts, ::testing::ValuesIn(testing::layout_cases()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace megalith
