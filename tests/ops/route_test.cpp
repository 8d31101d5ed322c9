#include "megalith/ops/route.h"

#include <cmath>
#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t kTokens = 9, kExperts = 8;

std::vector<RouteOptions> all_options() {
  return {{.topk = 2},
          {.topk = 3, .scale = 1.5},
          {.topk = 1, .pre_softmax = true},
          {.topk = 2, .pre_softmax = true, .num_groups = 4, .group_topk = 2},
          {.topk = 4, .num_groups = 4, .group_topk = 2},
          {.topk = 1, .score = RouterScore::kSigmoid},
          {.topk = 3, .score = RouterScore::kSigmoid, .scale = 2.5},
          {.topk = 2, .score = RouterScore::kSigmoid, .num_groups = 2, .group_topk = 1},
          {.topk = 8, .score = RouterScore::kSigmoid}};
}

double sigmoid_of(double x) {
  return 1 / (1 + std::exp(-x));
}

std::vector<double> softmax_of(const std::vector<double>& x) {
  std::vector<double> y;
  double sum = 0;
  for (const double value : x) sum += std::exp(value);
  for (const double value : x) y.push_back(std::exp(value) / sum);
  return y;
}

// Places by falling score, the first of equal ones first.
std::vector<int> ranked(const std::vector<double>& scores) {
  std::vector<int> places(scores.size());
  std::iota(places.begin(), places.end(), 0);
  std::stable_sort(places.begin(), places.end(), [&](int a, int b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return places;
}

std::vector<int> choice_of(const RouteOptions& o, const std::vector<double>& logits,
                           const std::vector<double>& bias) {
  std::vector<double> scores = o.pre_softmax ? softmax_of(logits) : logits;
  if (o.score == RouterScore::kSigmoid)
    for (size_t e = 0; e < scores.size(); ++e) scores[e] = sigmoid_of(logits[e]) + bias[e];
  if (o.num_groups > 0) {
    const size_t size = scores.size() / static_cast<size_t>(o.num_groups);
    std::vector<double> sums;
    for (size_t g = 0; g < static_cast<size_t>(o.num_groups); ++g) {
      std::vector<double> group(scores.begin() + static_cast<ptrdiff_t>(g * size),
                                scores.begin() + static_cast<ptrdiff_t>((g + 1) * size));
      std::sort(group.rbegin(), group.rend());
      sums.push_back(std::accumulate(group.begin(), group.begin() + o.topk / o.group_topk, 0.0));
    }
    const std::vector<int> order = ranked(sums);
    for (size_t i = static_cast<size_t>(o.group_topk); i < order.size(); ++i)
      for (size_t e = 0; e < size; ++e) scores[static_cast<size_t>(order[i]) * size + e] = -1e300;
  }
  std::vector<int> best = ranked(scores);
  best.resize(static_cast<size_t>(o.topk));
  return best;
}

std::vector<double> probs_of(const RouteOptions& o, const std::vector<double>& logits,
                             const std::vector<int>& choice) {
  const std::vector<double> all = softmax_of(logits);
  std::vector<double> chosen;
  for (const int e : choice) {
    const double logit = logits[static_cast<size_t>(e)];
    chosen.push_back(o.score == RouterScore::kSigmoid ? sigmoid_of(logit)
                     : o.pre_softmax                  ? all[static_cast<size_t>(e)]
                                                      : std::exp(logit));
  }
  const bool normalizes = o.score == RouterScore::kSigmoid ? o.topk > 1 : !o.pre_softmax;
  const double sum = normalizes ? std::accumulate(chosen.begin(), chosen.end(), 0.0) : 1;
  for (double& value : chosen) value *= o.scale / sum;
  return chosen;
}

std::vector<double> row_of(const std::vector<double>& values, int64_t row, int64_t cols) {
  return {values.begin() + row * cols, values.begin() + (row + 1) * cols};
}

TEST(Route, ChoosesAndWeighsAsTheFormulaSays) {
  for (const DType dtype : {DType::kF64, DType::kF32}) {
    const auto exec = make_exec(available_isas().back(), 2);
    for (const RouteOptions& options : all_options()) {
      const Tensor logits = random_tensor(*exec, {kTokens, kExperts}, dtype, 3);
      const bool has_bias = options.score == RouterScore::kSigmoid;
      const Tensor bias = random_tensor(*exec, {kExperts}, DType::kF32, 4);
      const Tensor experts = exec->empty({kTokens, options.topk}, DType::kI32);
      const Tensor probs = poisoned_tensor(*exec, experts.shape(), dtype);
      route({.options = options,
             .logits = logits,
             .expert_bias = has_bias ? bias : Tensor(),
             .experts = experts,
             .probs = probs},
            *exec);
      std::vector<double> expected_probs, expected_experts;
      for (int64_t t = 0; t < kTokens; ++t) {
        const std::vector<double> row = row_of(values_of(logits), t, kExperts);
        const std::vector<int> choice = choice_of(options, row, values_of(bias));
        expected_experts.insert(expected_experts.end(), choice.begin(), choice.end());
        const std::vector<double> weights = probs_of(options, row, choice);
        expected_probs.insert(expected_probs.end(), weights.begin(), weights.end());
      }
      EXPECT_EQ(values_of(experts), expected_experts);
      expect_close(probs, expected_probs, tolerance(dtype, kExperts), "probs");
    }
  }
}

TEST(Route, OfEqualLogitsTheFirstWin) {
  Exec exec;
  const Tensor logits = exec.zeros({1, 6}, DType::kF32), experts = exec.empty({1, 3}, DType::kI32);
  route({.options = {.topk = 3},
         .logits = logits,
         .experts = experts,
         .probs = exec.empty({1, 3}, DType::kF32)},
        exec);
  EXPECT_EQ(values_of(experts), (std::vector<double>{0, 1, 2}));
}

TEST(Route, GradientIsThatOfTheWeights) {
  Exec exec;
  for (const RouteOptions& options : all_options()) {
    const Tensor logits = random_tensor(exec, {kTokens, kExperts}, DType::kF64, 5);
    const Tensor experts = exec.empty({kTokens, options.topk}, DType::kI32);
    const Tensor probs = exec.empty(experts.shape(), DType::kF64);
    route({.options = options, .logits = logits, .experts = experts, .probs = probs}, exec);
    const Tensor d_probs = random_tensor(exec, experts.shape(), DType::kF64, 6);
    const Tensor d_logits = poisoned_tensor(exec, logits.shape(), DType::kF64);
    route_backward(
        {.options = options, .logits = logits, .experts = experts, .d_probs = d_probs, .d_logits = d_logits},
        exec);
    const auto loss = [&](const std::vector<double>& place) {
      double sum = 0;
      for (int64_t t = 0; t < kTokens; ++t) {
        std::vector<int> choice;
        for (const double e : row_of(values_of(experts), t, options.topk))
          choice.push_back(static_cast<int>(e));
        sum += dot(probs_of(options, row_of(place, t, kExperts), choice),
                   row_of(values_of(d_probs), t, options.topk));
      }
      return sum;
    };
    expect_gradient(loss, values_of(logits), values_of(d_logits), "logits");
  }
}

TEST(RouterLosses, ValuesAndGradientsAreThoseOfTheFormulas) {
  Exec exec({.num_threads = 2});
  constexpr int64_t kFirst = 2, kLength = 4, kSequences = 3;  // tokens 2 to 10 of sequences of 4
  for (const RouterScore score : {RouterScore::kSoftmax, RouterScore::kSigmoid}) {
    const Tensor logits = random_tensor(exec, {kTokens, kExperts}, DType::kF64, 7);
    const Tensor counts = random_tensor(exec, {kSequences, kExperts}, DType::kF64, 8);
    const double balance = 0.3, z = 0.7, balance_coeff = 0.1, z_coeff = 0.2;
    const auto sums = [&](const std::vector<double>& place) {
      std::vector<double> result(2);
      for (int64_t t = 0; t < kTokens; ++t) {
        const std::vector<double> row = row_of(place, t, kExperts);
        std::vector<double> shares = softmax_of(row);
        double sum = 0, lse = 0;
        for (const double x : row) sum += sigmoid_of(x), lse += std::exp(x);
        if (score == RouterScore::kSigmoid)
          for (size_t e = 0; e < shares.size(); ++e) shares[e] = sigmoid_of(row[e]) / sum;
        result[0] += balance * dot(shares, row_of(values_of(counts), (kFirst + t) / kLength, kExperts));
        result[1] += z * std::log(lse) * std::log(lse);
      }
      return result;
    };
    const Tensor losses = exec.zeros({2}, DType::kF64), d_logits = exec.zeros(logits.shape(), DType::kF64);
    router_losses({.options = {.score = score},
                   .logits = logits,
                   .counts = counts,
                   .first_token = kFirst,
                   .tokens_per_sequence = kLength,
                   .balance_factor = balance,
                   .z_factor = z,
                   .balance_gradient = balance_coeff,
                   .z_gradient = z_coeff,
                   .losses = losses,
                   .d_logits = d_logits},
                  exec);
    expect_close(losses, sums(values_of(logits)), tolerance(DType::kF64, kTokens * kExperts, 10), "losses");
    expect_gradient(
        [&](const std::vector<double>& place) {
          const std::vector<double> values = sums(place);
          return balance_coeff * values[0] + z_coeff * values[1];
        },
        values_of(logits), values_of(d_logits), "logits");
  }
}

TEST(CountExperts, BySequenceWithoutDroppedOnes) {
  Exec exec;
  const std::vector<int32_t> experts = {0, 2, 2, 1, -1, 2, 0, -1};
  const Tensor counts = exec.zeros({2, 3}, DType::kF64);
  count_experts({.experts = exec.from_host(std::span<const int32_t>(experts), {4, 2}),
                 .first_token = 1,
                 .tokens_per_sequence = 3,
                 .counts = counts},
                exec);
  EXPECT_EQ(values_of(counts), (std::vector<double>{1, 1, 2, 1, 0, 1}));
}

TEST(ExpertBias, MovesTowardsTheMean) {
  Exec exec;
  const Tensor bias = tensor_of(exec, {1, 2, 3, 4}, {4}, DType::kF32);
  move_expert_bias(tensor_of(exec, {5, 1, 2, 0}, {4}, DType::kF64), 0.5, bias, exec);  // 2 on average
  EXPECT_EQ(values_of(bias), (std::vector<double>{0.5, 2.5, 3, 4.5}));
  EXPECT_THAT([&] { move_expert_bias(exec.zeros({3}, DType::kF64), 1, bias, exec); },
              ThrowsMessage<Error>(HasSubstr("counts has shape [3]")));
}

TEST(Route, RejectsWhatDoesNotFit) {
  Exec exec;
  const Tensor logits = exec.zeros({2, 4}, DType::kF32);
  const auto run = [&](const RouteOptions& options, const Tensor& bias) {
    route({.options = options,
           .logits = logits,
           .expert_bias = bias,
           .experts = exec.empty({2, options.topk}, DType::kI32),
           .probs = exec.empty({2, options.topk}, DType::kF32)},
          exec);
  };
  EXPECT_THAT([&] { run({.topk = 5}, {}); }, ThrowsMessage<Error>(HasSubstr("topk is 5")));
  EXPECT_THAT([&] { run({.num_groups = 3, .group_topk = 1}, {}); },
              ThrowsMessage<Error>(HasSubstr("of 3 groups")));
  EXPECT_THAT([&] { run({}, exec.zeros({4}, DType::kF32)); }, ThrowsMessage<Error>(HasSubstr("sigmoid")));
}

}  // namespace
}  // namespace megalith
