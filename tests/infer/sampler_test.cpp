#include "megalith/infer/sampler.h"

#include <cmath>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/infer/stop_strings.h"

namespace megalith {
namespace {

// Share of every token over evenly spaced random words.
std::map<int32_t, double> shares(const std::vector<float>& logits, const SamplingOptions& options) {
  constexpr int kDraws = 4096;
  std::map<int32_t, double> counts;
  for (int i = 0; i < kDraws; ++i) {
    const auto word = static_cast<uint32_t>((static_cast<uint64_t>(i) << 32) / kDraws);
    counts[sample_token(logits, options, word)] += 1.0 / kDraws;
  }
  return counts;
}

const std::vector<float> kLogits = {std::log(0.1f), std::log(0.5f), std::log(0.15f), std::log(0.25f)};

TEST(Sampler, FollowsTheSoftmax) {
  const auto got = shares(kLogits, {});
  EXPECT_NEAR(got.at(0), 0.1, 1e-3);
  EXPECT_NEAR(got.at(1), 0.5, 1e-3);
  EXPECT_NEAR(got.at(2), 0.15, 1e-3);
  EXPECT_NEAR(got.at(3), 0.25, 1e-3);
}

TEST(Sampler, TemperatureSharpens) {
  const auto got = shares(kLogits, {.temperature = 0.5});
  const double total = 0.1 * 0.1 + 0.5 * 0.5 + 0.15 * 0.15 + 0.25 * 0.25;
  EXPECT_NEAR(got.at(1), 0.25 / total, 1e-3);
}

TEST(Sampler, GreedyTakesTheFirstOfEqualLogits) {
  const std::vector<float> logits = {1, 3, 3, 2};
  EXPECT_EQ(sample_token(logits, {.temperature = 0}, 0xffffffffu), 1);
  EXPECT_EQ(sample_token(logits, {.top_k = 1}, 0xffffffffu), 1);
}

TEST(Sampler, TopKKeepsTheLargest) {
  const auto got = shares(kLogits, {.top_k = 2});
  EXPECT_EQ(got.size(), 2u);
  EXPECT_NEAR(got.at(1), 0.5 / 0.75, 1e-3);
}

TEST(Sampler, TopPKeepsTheTokenThatCrosses) {
  const auto got = shares(kLogits, {.top_p = 0.6});
  EXPECT_EQ(got.size(), 2u);
  EXPECT_NEAR(got.at(3), 0.25 / 0.75, 1e-3);
  EXPECT_EQ(shares(kLogits, {.top_p = 0.4}).size(), 1u);
}

TEST(Sampler, RefusesNan) {
  EXPECT_THROW(sample_token(std::vector<float>{NAN, NAN}, {}, 0), Error);
}

TEST(StopStrings, CutsAtTheFirstStopAndHoldsBackBeginnings) {
  StopStrings stops({"END", "\n\n"});
  EXPECT_EQ(stops.push("abcE"), "abc");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_EQ(stops.push("xE"), "ENx");
  EXPECT_FALSE(stops.found());
  EXPECT_EQ(stops.push("ND tail"), "");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.push("more"), "");
}

TEST(StopStrings, GivesBackWhatItHeld) {
  StopStrings stops({"abc"});
  EXPECT_EQ(stops.push("xab"), "x");
  EXPECT_EQ(stops.finish(), "ab");
}

}  // namespace
}  // namespace megalith
