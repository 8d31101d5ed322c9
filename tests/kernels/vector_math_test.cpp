#include "megalith/kernels/cpu/vector_math.h"

#include <cmath>
#include <functional>
#include <limits>

#include <gtest/gtest.h>

namespace megalith::cpu {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// The largest relative error over evenly spaced arguments, against double.
double worst_error(float begin, float end, const std::function<float(float)>& function,
                   const std::function<double(double)>& exact) {
  constexpr int kSteps = 200000;
  double worst = 0;
  for (int i = 0; i <= kSteps; ++i) {
    const float x = begin + (end - begin) * (static_cast<float>(i) / kSteps);
    const double expected = exact(static_cast<double>(x));
    // Around 0 the error counts against the smallest normal number.
    const double size = std::max(std::abs(expected), 0x1p-126);
    worst = std::max(worst, std::abs(static_cast<double>(function(x)) - expected) / size);
  }
  return worst;
}

constexpr double kTwoUlp = 2.4e-7;

TEST(VectorMath, ExpIsGoodToTwoUlp) {
  const auto exact = [](double x) { return std::exp(x); };
  const auto function = [](float x) { return exp_of(x); };
  EXPECT_LT(worst_error(-87, 88.7f, function, exact), kTwoUlp);
  EXPECT_LT(worst_error(-1, 1, function, exact), kTwoUlp);
  EXPECT_LT(worst_error(-104, -87, function, exact), 2e-7);
  EXPECT_EQ(exp_of(0.0f), 1.0f);
  EXPECT_EQ(exp_of(-kInfinity), 0.0f);
  EXPECT_EQ(exp_of(-200.0f), 0.0f);
  EXPECT_EQ(exp_of(kInfinity), kInfinity);
  EXPECT_EQ(exp_of(100.0f), kInfinity);
  EXPECT_TRUE(std::isnan(exp_of(kNan)));
  EXPECT_TRUE(std::isnan(exp_of(-kNan)));
}

TEST(VectorMath, TanhKeepsItsRelativeErrorNearZero) {
  const auto exact = [](double x) { return std::tanh(x); };
  const auto function = [](float x) { return tanh_of(x); };
  EXPECT_LT(worst_error(-12, 12, function, exact), kTwoUlp);
  EXPECT_LT(worst_error(-1e-3f, 1e-3f, function, exact), kTwoUlp);
  EXPECT_EQ(tanh_of(kInfinity), 1.0f);
  EXPECT_EQ(tanh_of(-kInfinity), -1.0f);
  EXPECT_EQ(tanh_of(0.0f), 0.0f);
  EXPECT_TRUE(std::isnan(tanh_of(kNan)));
}

TEST(VectorMath, SigmoidIsGoodToThreeUlp) {
  const auto exact = [](double x) { return 1 / (1 + std::exp(-x)); };
  EXPECT_LT(worst_error(
                -80, 80, [](float x) { return sigmoid_of(x); }, exact),
            1.5 * kTwoUlp);
  EXPECT_EQ(sigmoid_of(-kInfinity), 0.0f);
  EXPECT_EQ(sigmoid_of(kInfinity), 1.0f);
  EXPECT_EQ(sigmoid_of(0.0f), 0.5f);
  EXPECT_TRUE(std::isnan(sigmoid_of(kNan)));
}

TEST(VectorMath, LogIsGoodToTwoUlp) {
  const auto exact = [](double x) { return std::log(x); };
  const auto function = [](float x) { return log_of(x); };
  EXPECT_LT(worst_error(1e-6f, 4, function, exact), kTwoUlp);
  EXPECT_LT(worst_error(1, 1e6f, function, exact), kTwoUlp);
  EXPECT_LT(worst_error(1e30f, 3e38f, function, exact), kTwoUlp);
  EXPECT_NEAR(log_of(0x1p-149f), -149 * std::log(2.0), 1e-5);
  EXPECT_EQ(log_of(1.0f), 0.0f);
  EXPECT_EQ(log_of(0.0f), -kInfinity);
  EXPECT_EQ(log_of(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(log_of(-1.0f)));
  EXPECT_TRUE(std::isnan(log_of(kNan)));
}

TEST(VectorMath, ErfIsGoodToThreeUlp) {
  const auto exact = [](double x) { return std::erf(x); };
  const auto function = [](float x) { return erf_of(x); };
  EXPECT_LT(worst_error(-6, 6, function, exact), 1.5 * kTwoUlp);
  EXPECT_LT(worst_error(-0.01f, 0.01f, function, exact), kTwoUlp);
  EXPECT_EQ(erf_of(kInfinity), 1.0f);
  EXPECT_EQ(erf_of(-kInfinity), -1.0f);
  EXPECT_TRUE(std::isnan(erf_of(kNan)));
}

}  // namespace
}  // namespace megalith::cpu
