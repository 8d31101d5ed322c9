#include "megalith/ops/sample_tokens.h"

#include <cmath>
#include <map>
#include <vector>

#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/kernels/cpu/sample_token.h"

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using cpu::sample_token;

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
  Exec exec;
  const std::vector<float> logits = {1, 3, 3, 2};
  const Tensor row = exec.from_host(std::span<const float>(logits), {1, 4}),
               out = exec.empty({1}, DType::kI32);
  for (const SamplingOptions& options : {SamplingOptions{.temperature = 0}, SamplingOptions{.top_k = 1}}) {
    sample_tokens({.logits = row, .words = exec.zeros({1}, DType::kI32), .options = options, .out = out},
                  exec);
    EXPECT_EQ(to_vector<int32_t>(out), std::vector<int32_t>{1});
  }
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

// Rows of one call, and what the row itself says.
TEST(SampleTokens, EveryRowHasItsWord) {
  Exec exec;
  for (const DType dtype : conformance::kFloatTypes) {
    const Tensor logits =
        conformance::random_tensor(exec, {5, 33}, dtype, 7, conformance::Layout::kPaddedRows);
    const std::vector<int32_t> words = {0, -1, 1 << 30, -2'000'000'000, 7};
    const SamplingOptions options{.temperature = 0.7, .top_k = 20, .top_p = 0.9};
    const Tensor out = exec.empty({5}, DType::kI32);
    sample_tokens({.logits = logits,
                   .words = exec.from_host(std::span<const int32_t>(words), {5}),
                   .options = options,
                   .out = out},
                  exec);
    std::vector<int32_t> expected;
    for (int64_t row = 0; row < 5; ++row)
      expected.push_back(sample_token(to_vector<float>(logits.slice(0, row, row + 1)), options,
                                      static_cast<uint32_t>(words[static_cast<size_t>(row)])));
    EXPECT_EQ(to_vector<int32_t>(out), expected) << name_of(dtype);
  }
}

TEST(SampleTokens, WhatIsNoProbabilityIsRefused) {
  Exec exec;
  const Tensor logits = conformance::random_tensor(exec, {1, 8}, DType::kF32, 1),
               words = exec.zeros({1}, DType::kI32), out = exec.empty({1}, DType::kI32);
  for (const SamplingOptions& wrong :
       {SamplingOptions{.temperature = -1}, SamplingOptions{.top_k = -1}, SamplingOptions{.top_p = 1.5}})
    EXPECT_THROW(sample_tokens({.logits = logits, .words = words, .options = wrong, .out = out}, exec),
                 Error);
}

}  // namespace
}  // namespace megalith
