// The load-balancing loss over the microbatches of a step: gradients and values against its formula.
#include <cmath>
#include <numeric>

#include <gtest/gtest.h>

#include "megalith/autograd/functions/router.h"
#include "megalith/comm/run_ranks.h"

namespace megalith {
namespace {

constexpr int64_t kTokens = 7, kHidden = 5, kExperts = 4, kTopk = 2, kMicrobatches = 3;
constexpr int kRanks = 2;
constexpr double kCoeff = 0.7, kLossScale = 0.25;

double random_at(uint64_t seed, int64_t i) {
  return static_cast<double>(RngKey{seed, 1}.bits(static_cast<uint64_t>(i)) % 2001) / 1000 - 1;
}

double x_at(int rank, int64_t microbatch, int64_t i) {
  return random_at(10 + static_cast<uint64_t>(rank * kMicrobatches + microbatch), i);
}

using Matrix = std::vector<std::vector<double>>;

// P of each token.
Matrix shares(int rank, int64_t microbatch, const std::vector<double>& weight) {
  Matrix all;
  for (int64_t t = 0; t < kTokens; ++t) {
    std::vector<double> p(kExperts);
    for (int64_t e = 0; e < kExperts; ++e) {
      double logit = 0;
      for (int64_t h = 0; h < kHidden; ++h)
        logit += x_at(rank, microbatch, t * kHidden + h) * weight[static_cast<size_t>(e * kHidden + h)];
      p[static_cast<size_t>(e)] = std::exp(logit);
    }
    const double sum = std::accumulate(p.begin(), p.end(), 0.0);
    for (double& value : p) value /= sum;
    all.push_back(p);
  }
  return all;
}

// n_e: tokens whose k largest shares hold e.
std::vector<double> counts(int rank, int64_t microbatch, const std::vector<double>& weight) {
  std::vector<double> n(kExperts);
  for (const std::vector<double>& p : shares(rank, microbatch, weight))
    for (size_t e = 0; e < kExperts; ++e)
      n[e] += std::count_if(p.begin(), p.end(), [&](double other) { return other > p[e]; }) < kTopk;
  return n;
}

// Of one rank, over its microbatches: E sum over e of f_e P_e, f the share of the choices of all ranks in the
// microbatches so far, P the mean over the microbatch's tokens. `weight` of the counts is constant.
double loss_of(int rank, const std::vector<double>& weight, const std::vector<double>& weight_of_counts) {
  double loss = 0;
  std::vector<double> n(kExperts);
  for (int64_t m = 0; m < kMicrobatches; ++m) {
    for (int r = 0; r < kRanks; ++r)
      for (size_t e = 0; e < kExperts; ++e) n[e] += counts(r, m, weight_of_counts)[e];
    for (const std::vector<double>& p : shares(rank, m, weight))
      for (size_t e = 0; e < kExperts; ++e)
        loss += kLossScale * kExperts * n[e] / static_cast<double>(kTopk * kTokens * kRanks * (m + 1)) *
                p[e] / kTokens;
  }
  return loss;
}

TEST(RouterGlobalLoss, CountsTheStepSoFarOnAllRanks) {
  std::vector<double> weight;
  for (int64_t i = 0; i < kExperts * kHidden; ++i) weight.push_back(random_at(1, i));
  std::vector<std::vector<double>> gradients(kRanks);
  std::vector<double> losses(kRanks);
  run_ranks({.num_ranks = kRanks}, [&](Communicator& comm) {
    Exec exec({.num_threads = 1});
    ParameterStore store;
    Parameter& w = store.add({.name = "router.weight", .shape = {kExperts, kHidden}, .init = Init::zeros()});
    store.materialize(exec, DType::kF64);
    store.initialize(exec);
    store.allocate_gradients(exec);
    exec.upload(std::as_bytes(std::span<const double>(weight)), w.data);
    RouterState state{.expert_bias = {},
                      .tokens_per_expert = exec.zeros({kExperts}, DType::kF64),
                      .step_counts = exec.zeros({kExperts}, DType::kF64),
                      .losses = exec.zeros({2}, DType::kF64)};
    store.mark_gradients_fresh();
    for (int64_t m = 0; m < kMicrobatches; ++m) {
      std::vector<double> values;
      for (int64_t i = 0; i < kTokens * kHidden; ++i) values.push_back(x_at(comm.rank(), m, i));
      Tape tape(exec);
      const Var x = tape.leaf(exec.from_host(std::span<const double>(values), {kTokens, kHidden}));
      const RouterResult routed = router(tape, x, w,
                                         {.options = {.topk = kTopk},
                                          .state = &state,
                                          .balance_coeff = kCoeff,
                                          .loss_scale = kLossScale,
                                          .tokens_per_sequence = kTokens,
                                          .balances_step = true,
                                          .step_groups = {&comm}});
      tape.backward(routed.probs, exec.zeros({kTokens, kTopk}, DType::kF64));
    }
    const auto rank = static_cast<size_t>(comm.rank());
    gradients[rank] = to_vector<double>(w.main_grad);
    losses[rank] = to_vector<double>(state.losses)[0];
  });
  for (int rank = 0; rank < kRanks; ++rank) {
    EXPECT_NEAR(losses[static_cast<size_t>(rank)], loss_of(rank, weight, weight), 1e-12);
    for (size_t i = 0; i < weight.size(); ++i) {
      constexpr double kStep = 1e-5;
      std::vector<double> above = weight, below = weight;
      above[i] += kStep;
      below[i] -= kStep;
      const double slope =
          kCoeff * (loss_of(rank, above, weight) - loss_of(rank, below, weight)) / (2 * kStep);
      EXPECT_NEAR(gradients[static_cast<size_t>(rank)][i], slope, 1e-8) << rank << " " << i;
    }
  }
}

}  // namespace
}  // namespace megalith
