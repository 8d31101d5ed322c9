// What is decided where the gradients lie against the host's own arithmetic.

#include "megalith/ops/update.h"

#include <cmath>
#include <limits>

#include <gtest/gtest.h>

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using namespace conformance;

constexpr double kInf = std::numeric_limits<double>::infinity();

// The tensors of one call, and what it left in them.
struct Decision {
  explicit Decision(const std::vector<double>& squares_values, double loss_value, double to_mean = 1)
      : squares(tensor_of(exec, squares_values, {std::ssize(squares_values)}, DType::kF64)),
        weights(
            tensor_of(exec, std::vector<double>(squares_values.size(), 0.5), squares.shape(), DType::kF64)),
        loss(tensor_of(exec, {loss_value}, {1}, DType::kF64)),
        factors(tensor_of(exec, {to_mean, 0.75, 0.01, 2}, {4}, DType::kF64)),
        results(poisoned_tensor(exec, {3}, DType::kF64)),
        numbers(poisoned_tensor(exec, {5}, DType::kF32)) {}
  void run(double max_norm, bool is_always_applied = false) {
    decide_update({.squares = squares,
                   .weights = weights,
                   .loss = loss,
                   .factors = factors,
                   .max_norm = max_norm,
                   .is_always_applied = is_always_applied,
                   .results = results,
                   .numbers = numbers},
                  exec);
  }
  Exec exec;
  Tensor squares, weights, loss, factors, results, numbers;
};

TEST(DecideUpdate, ClipsTheMean) {
  Decision decision({32, 96}, 3, 0.25);  // the norm is 8, that of the mean 2
  decision.run(1);
  EXPECT_EQ(values_of(decision.results), (std::vector<double>{3, 8, 1}));
  const auto scale = static_cast<float>(1 / (2 + 1e-6) * 0.25);
  EXPECT_EQ(values_of(decision.numbers), (std::vector<double>{scale, 0.75, 0.01f, 2, 1}));
  EXPECT_EQ(values_of(decision.loss), std::vector<double>{0});
  decision.run(2.5);
  EXPECT_EQ(values_of(decision.numbers)[0], 0.25) << "the norm is below the bound";
  decision.run(0);
  EXPECT_EQ(values_of(decision.numbers)[0], 0.25) << "no bound";
}

TEST(DecideUpdate, AppliesNoNanAndNoInfinity) {
  const auto is_applied = [](double square, double loss, double to_mean, bool is_always_applied) {
    Decision decision({1, square}, loss, to_mean);
    decision.run(1, is_always_applied);
    EXPECT_EQ(values_of(decision.results)[2], values_of(decision.numbers)[4]);
    return values_of(decision.results)[2] == 1;
  };
  EXPECT_TRUE(is_applied(1, 1, 1, false));
  EXPECT_FALSE(is_applied(kInf, 1, 1, false));
  EXPECT_FALSE(is_applied(std::nan(""), 1, 1, false));
  EXPECT_FALSE(is_applied(1, kInf, 1, false));
  EXPECT_FALSE(is_applied(1, std::nan(""), 1, false));
  EXPECT_FALSE(is_applied(1e300, 1, 1e200, false)) << "the mean overflows";
  EXPECT_TRUE(is_applied(kInf, std::nan(""), 1, true));
}

TEST(DecideUpdate, NumbersGiveTheBitsOfAdamwByValue) {
  constexpr int64_t kCount = 1003;
  Exec exec;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const double weight_decay : {0.0, 0.1}) {
      const auto state = [&] {
        AdamwArgs args{.lr = 0.01, .weight_decay = weight_decay, .grad_scale = 0.3, .step = 7};
        args.master = random_tensor(exec, {kCount}, DType::kF32, 1);
        args.grad = random_tensor(exec, {kCount}, DType::kF32, 2);
        args.exp_avg = random_tensor(exec, {kCount}, DType::kF32, 3);
        args.exp_avg_sq = tensor_of(exec, std::vector<double>(kCount, 0.25), {kCount}, DType::kF32);
        args.param = dtype == DType::kF32 ? args.master : random_tensor(exec, {kCount}, dtype, 4);
        return args;
      };
      const AdamwArgs expected = state();
      const AdamwFactors factors =
          adamw_factors({.lr = 0.01, .weight_decay = 0.1, .step = 7});  // of what decays
      adamw(expected, exec);
      AdamwArgs got = state(), kept = state();
      got.lr = kept.lr = 5;  // not read
      got.numbers =
          tensor_of(exec, {0.3, factors.decay, factors.step_size, factors.root_scale, 1}, {5}, DType::kF32);
      adamw(got, exec);
      kept.numbers = tensor_of(exec, {0.3, 1, 1, 1, 0}, {5}, DType::kF32);
      adamw(kept, exec);
      const AdamwArgs untouched = state();
      for (const auto member :
           {&AdamwArgs::param, &AdamwArgs::master, &AdamwArgs::exp_avg, &AdamwArgs::exp_avg_sq}) {
        EXPECT_EQ(bits_of(got.*member), bits_of(expected.*member));
        EXPECT_EQ(bits_of(kept.*member), bits_of(untouched.*member));
      }
    }
  }
}

}  // namespace
}  // namespace megalith
