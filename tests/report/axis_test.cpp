#include "megalith/report/axis.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {
using ::testing::ElementsAre;
using ::testing::Pair;

TEST(Axis, LinearTicksAreRoundNumbers) {
  const Axis axis = make_axis(1.93, 9.1, AxisScale::kLinear, 7);
  EXPECT_THAT(axis.labels, ElementsAre("2", "4", "6", "8"));
  EXPECT_EQ(axis.position(1.93), 0);
  EXPECT_EQ(axis.position(9.1), 1);
  EXPECT_THAT(make_axis(0, 20000, AxisScale::kLinear, 4).labels,
              ElementsAre("0", "5000", "10K", "15K", "20K"));
  EXPECT_THAT(make_axis(-1, 1, AxisScale::kLinear, 4).labels, ElementsAre("-1.0", "-0.5", "0", "0.5", "1.0"));
}

TEST(Axis, TicksLieInsideForEveryRange) {
  for (int exponent = -12; exponent <= 12; ++exponent) {
    for (const double mantissa : {1.0, 1.7, 3.3, 9.99}) {
      const double span = mantissa * std::pow(10.0, exponent);
      for (const AxisScale scale : {AxisScale::kLinear, AxisScale::kLog}) {
        const Axis axis = make_axis(span, 3.5 * span, scale, 6);
        ASSERT_GE(axis.ticks.size(), 2u) << span;
        ASSERT_LE(axis.ticks.size(), 15u) << span;
        for (size_t i = 0; i < axis.ticks.size(); ++i) {
          ASSERT_GE(axis.position(axis.ticks[i]), -1e-6);
          ASSERT_LE(axis.position(axis.ticks[i]), 1 + 1e-6);
          if (i > 0) {
            ASSERT_NE(axis.labels[i], axis.labels[i - 1]);
          }
        }
      }
    }
  }
}

TEST(Axis, LogTicksAndPositions) {
  const Axis axis = make_axis(0.1, 1000, AxisScale::kLog, 6);
  EXPECT_THAT(axis.labels, ElementsAre("0.1", "1", "10", "100", "1000"));
  EXPECT_NEAR(axis.position(10), 0.5, 1e-12);
  EXPECT_THAT(make_axis(2.5, 7, AxisScale::kLog, 6).labels, ElementsAre("3", "4", "5", "6", "7"));
  EXPECT_THAT(make_axis(0, 3.3e-4, AxisScale::kLinear, 4).labels, ElementsAre("0", "1e-4", "2e-4", "3e-4"));
  EXPECT_THROW(make_axis(0, 1, AxisScale::kLog, 5), Error);
}

TEST(Axis, AFlatRangeIsWidened) {
  for (const double value : {0.0, 5.0, -3.0, 1e-9}) {
    const Axis axis = make_axis(value, value, AxisScale::kLinear, 5);
    EXPECT_LT(axis.low, value);
    EXPECT_GT(axis.high, value);
    EXPECT_FALSE(axis.ticks.empty());
  }
  const Axis axis = make_axis(2, 2, AxisScale::kLog, 5);
  EXPECT_LT(axis.low, 2);
  EXPECT_GT(axis.high, 2);
}

TEST(Smooth, IsTheNormalisedWeightedMean) {
  const Curve curve = {{0, 4}, {1, 8}, {2, 2}};
  EXPECT_EQ(smooth(curve, 0), curve);
  EXPECT_THAT(smooth(curve, 0.5),
              ElementsAre(Pair(0, (4 + 8 / 2. + 2 / 4.) / 1.75), Pair(1, (4 / 2. + 8 + 2 / 2.) / 2),
                          Pair(2, (4 / 4. + 8 / 2. + 2) / 1.75)));
  EXPECT_TRUE(smooth({}, 0.5).empty());
}

TEST(ThinOut, KeepsTheExtremes) {
  Curve curve;
  for (int i = 0; i < 100000; ++i) curve.emplace_back(i, i == 50001 ? 7 : i == 777 ? -7 : std::sin(i));
  const Curve thin = thin_out(curve, 100);
  EXPECT_LE(thin.size(), 200u);
  EXPECT_THAT(thin, ::testing::Contains(Pair(50001, 7)));
  EXPECT_THAT(thin, ::testing::Contains(Pair(777, -7)));
  for (size_t i = 1; i < thin.size(); ++i) EXPECT_LT(thin[i - 1].first, thin[i].first);
  const Curve few = {{0, 1}, {1, 2}};
  EXPECT_EQ(thin_out(few, 10), few);
}

}  // namespace
}  // namespace megalith
