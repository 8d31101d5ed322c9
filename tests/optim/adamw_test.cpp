// The optimizer over a store's flat buffers against AdamW written out for one number.

#include "megalith/optim/adamw.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <string>

#include <gtest/gtest.h>

#include "megalith/ops/elementwise.h"
#include "megalith/ops/update.h"
#include "megalith/optim/clip.h"

namespace megalith {
namespace {

constexpr double kLr = 0.1, kDecay = 0.3, kGradScale = 0.5;

struct Number {
  double weight, m = 0, v = 0;
  void step(double gradient, double decay, int64_t step, const OptimConfig& c) {
    const double g = gradient * kGradScale;
    m = c.adam_beta1 * m + (1 - c.adam_beta1) * g;
    v = c.adam_beta2 * v + (1 - c.adam_beta2) * g * g;
    const double m_hat = m / (1 - std::pow(c.adam_beta1, static_cast<double>(step)));
    const double v_hat = v / (1 - std::pow(c.adam_beta2, static_cast<double>(step)));
    weight -= kLr * decay * weight;
    weight -= kLr * m_hat / (std::sqrt(v_hat) + c.adam_eps);
  }
};

class AdamWTest : public ::testing::TestWithParam<DType> {};

TEST_P(AdamWTest, FollowsTheFormulaAndSparesVectors) {
  Exec exec({.num_threads = 2});
  ParameterStore store;
  store.add({"matrix", {3, 5}, Init::normal(1)});
  store.add({"vector", {7}, Init::ones()});
  store.add({"other", {2, 2}, Init::normal(1)});
  store.materialize(exec, GetParam());
  store.initialize(exec);
  store.allocate_gradients(exec);
  OptimConfig config;
  config.adam_beta2 = 0.95;
  AdamW optimizer(store, config, exec);

  std::vector<std::vector<Number>> expected;
  for (const auto& parameter : store.parameters()) {
    expected.emplace_back();
    for (const double weight : to_vector<double>(parameter->data)) expected.back().push_back({weight});
  }
  for (int64_t step = 1; step <= 4; ++step) {
    for (size_t p = 0; p < expected.size(); ++p) {
      const Parameter& parameter = *store.parameters()[p];
      float* gradient = parameter.main_grad.data<float>();
      for (size_t i = 0; i < expected[p].size(); ++i) {
        gradient[i] =
            static_cast<float>(std::sin(1.0 + static_cast<double>(i) + 3.0 * static_cast<double>(step)));
        expected[p][i].step(gradient[i], parameter.decays() ? kDecay : 0, step, config);
      }
    }
    optimizer.step({.lr = kLr, .weight_decay = kDecay, .grad_scale = kGradScale}, exec);
  }
  // f32 arithmetic of a few operations per step; the bf16 weights are the f32 master rounded once.
  const double tolerance = GetParam() == DType::kF32 ? 1e-5 : 1e-5 + 0x1p-8;
  for (size_t p = 0; p < expected.size(); ++p) {
    const std::vector<double> weights = to_vector<double>(store.parameters()[p]->data);
    for (size_t i = 0; i < weights.size(); ++i) {
      EXPECT_NEAR(weights[i], expected[p][i].weight, tolerance * (1 + std::abs(expected[p][i].weight)));
    }
  }
  optimizer.visit_state([&](const AdamW::StatePiece& piece) {
    if (std::string_view(piece.kind) != "exp_avg") return;
    EXPECT_EQ(piece.begin, 0);
    for (size_t p = 0; p < expected.size(); ++p) {
      if (piece.parameter != store.parameters()[p].get()) continue;
      const std::vector<double> values = to_vector<double>(piece.tensor);
      for (size_t i = 0; i < values.size(); ++i) EXPECT_NEAR(values[i], expected[p][i].m, 1e-6);
    }
  });
  for (const double padding : to_vector<double>(store.flat_data().slice(0, 15, 64))) EXPECT_EQ(padding, 0);
}

// Numbers in memory, as a captured step has them.
TEST_P(AdamWTest, StepWithNumbersHasTheSameBits) {
  Exec exec({.num_threads = 2});
  const auto weights_after = [&](bool has_numbers) {
    ParameterStore store;
    store.add({"matrix", {3, 5}, Init::normal(1)});
    store.add({"vector", {7}, Init::ones()});
    store.materialize(exec, GetParam());
    store.initialize(exec);
    store.allocate_gradients(exec);
    AdamW optimizer(store, {}, exec);
    for (int64_t step = 1; step <= 3; ++step) {
      const double lr = kLr / static_cast<double>(step);
      for (const auto& parameter : store.parameters())
        fill(parameter->main_grad, 1 / static_cast<double>(step + 1), exec);
      if (has_numbers) {
        const AdamwFactors factors = optimizer.next_factors(lr, kDecay);
        const AdamwNumbers numbers{.grad_scale = kGradScale,
                                   .decay = static_cast<float>(factors.decay),
                                   .step_size = static_cast<float>(factors.step_size),
                                   .root_scale = static_cast<float>(factors.root_scale),
                                   .is_applied = 1};
        const Tensor given = exec.empty({5}, DType::kF32);
        exec.upload(std::as_bytes(std::span(&numbers, 1)), given);
        optimizer.step_with(given, exec);
        optimizer.count_step();
      } else {
        optimizer.step({.lr = lr, .weight_decay = kDecay, .grad_scale = kGradScale}, exec);
      }
    }
    return to_vector<double>(store.flat_data());
  };
  EXPECT_EQ(weights_after(true), weights_after(false));
}

INSTANTIATE_TEST_SUITE_P(Dtypes, AdamWTest, ::testing::Values(DType::kF32, DType::kBF16),
                         [](const auto& instance) { return std::string(name_of(instance.param)); });

TEST(Clip, NormAndCoefficient) {
  Exec exec;
  ParameterStore store;
  store.add({"a", {2, 2}, Init::zeros()});
  store.add({"b", {3}, Init::zeros()});
  store.materialize(exec, DType::kF32);
  store.allocate_gradients(exec);
  fill(store.parameters()[0]->main_grad, 3, exec);
  fill(store.parameters()[1]->main_grad, -4, exec);
  EXPECT_DOUBLE_EQ(global_grad_norm(store, Mesh(), exec), std::sqrt(4 * 9.0 + 3 * 16.0));
  EXPECT_DOUBLE_EQ(clip_coefficient(2, 1), 1 / (2 + 1e-6));
  EXPECT_DOUBLE_EQ(clip_coefficient(0.5, 1), 1);
  EXPECT_DOUBLE_EQ(clip_coefficient(100, 0), 1);
}

TEST(ParameterStore, InitialNumbersDependOnNameAndSeedAlone) {
  Exec exec({.seed = 7}), same({.seed = 7}), other({.seed = 8});
  const auto numbers = [](Exec& e, bool with_neighbour) {
    ParameterStore store;
    if (with_neighbour) store.add({"before", {10, 3}, Init::normal(1)});
    store.add({"x", {4, 4}, Init::normal(1)});
    store.materialize(e, DType::kF32);
    store.initialize(e);
    return to_vector<double>(store.find("x").data);
  };
  EXPECT_EQ(numbers(exec, false), numbers(same, true));
  EXPECT_NE(numbers(exec, false), numbers(other, false));
}

TEST(ParameterStore, NamesTheNearestParameter) {
  ParameterStore store;
  store.add({"decoder.weight", {1}, Init::zeros()});
  try {
    store.find("decoder.wieght");
    FAIL();
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("'decoder.weight'"), std::string::npos);
  }
}

// Where the state lives changes no bit, and every element has its state once.
TEST(AdamW, StateOnTheHostIsTheSame) {
  Exec exec({.num_threads = 2});
  const auto run = [&](double fraction) {
    ParameterStore store;
    store.add({"matrix", {30, 50}, Init::normal(1)});
    store.add({"vector", {70}, Init::ones()});
    store.add({"other", {20, 20}, Init::normal(1)});
    store.materialize(exec, DType::kBF16);
    store.initialize(exec);
    store.allocate_gradients(exec);
    OptimConfig config;
    config.optimizer_cpu_offload = fraction >= 0;
    config.optimizer_offload_fraction = std::max(fraction, 0.0);
    AdamW optimizer(store, config, exec);
    for (int64_t step = 1; step <= 3; ++step) {
      fill(store.flat_grad(), 0.1 * static_cast<double>(step), exec);
      optimizer.step({.lr = kLr, .weight_decay = kDecay, .grad_scale = kGradScale}, exec);
    }
    std::map<std::string, std::vector<double>> state;
    optimizer.visit_state([&](const AdamW::StatePiece& piece) {
      std::vector<double>& values = state[piece.kind + piece.parameter->name()];
      EXPECT_EQ(static_cast<int64_t>(values.size()), piece.begin);
      for (const double value : to_vector<double>(piece.tensor)) values.push_back(value);
    });
    state["weights"] = to_vector<double>(store.flat_data());
    return state;
  };
  const auto expected = run(-1);
  EXPECT_EQ(expected.size(), 10u);
  for (const double fraction : {0.0, 0.3, 0.8, 1.0}) EXPECT_EQ(run(fraction), expected) << fraction;
}

}  // namespace
}  // namespace megalith
