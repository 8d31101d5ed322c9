// swiglu_linear beside the functions that it joins: the same bits on a CPU, under every policy.

#include "megalith/autograd/functions/swiglu_linear.h"

#include <gtest/gtest.h>

#include "megalith/autograd/functions/activation.h"
#include "megalith/autograd/functions/linear.h"
#include "megalith/ops/random_fill.h"

namespace megalith {
namespace {

constexpr int64_t kTokens = 9, kHidden = 8, kFfn = 12;

Tensor random_values(const Shape& shape, DType dtype, uint64_t seed, Exec& exec) {
  const Tensor x = exec.empty(shape, dtype);
  fill_normal({.x = x, .rng = {seed, 0}}, exec);
  return x;
}

struct Outcome {
  std::vector<double> out, d_x, gradients;
  bool operator==(const Outcome&) const = default;
};

enum class Form { kJoined, kApart };

Outcome run(Form form, DType dtype, const RecomputePolicy& recompute, bool is_deferred) {
  Exec exec({.num_threads = 1});
  ParameterStore store;
  Parameter& fc1 = store.add({"fc1", {2 * kFfn, kHidden}, Init::normal(0.5)});
  Parameter& fc2 = store.add({"fc2", {kHidden, kFfn}, Init::normal(0.5)});
  store.materialize(exec, dtype);
  store.initialize(exec);
  store.allocate_gradients(exec);
  store.mark_gradients_fresh();
  Tape tape(exec, {.is_recording = true, .recompute = recompute});
  const Var x = tape.leaf(random_values({kTokens, kHidden}, dtype, 1, exec));
  const Var out = form == Form::kJoined
                      ? swiglu_linear(tape, linear_swiglu(tape, x, fc1), fc2)
                      : linear(tape, activation(tape, linear(tape, x, fc1), ActivationKind::kSwiglu), fc2);
  WgradQueue queue;
  tape.backward(out, random_values(out.data.shape(), dtype, 2, exec), is_deferred ? &queue : nullptr);
  queue.drain(exec);
  return {to_vector<double>(out.data), to_vector<double>(tape.gradient(x)),
          to_vector<double>(store.flat_grad())};
}

TEST(SwigluLinear, HasTheBitsOfItsParts) {
  for (const DType dtype : {DType::kF64, DType::kF32, DType::kBF16, DType::kF16}) {
    const Outcome expected = run(Form::kApart, dtype, {}, false);
    EXPECT_NE(expected.d_x, std::vector<double>(expected.d_x.size(), 0));
    for (const RecomputePolicy& policy : {RecomputePolicy{}, RecomputePolicy{.ops = {"activation"}}}) {
      for (const bool is_deferred : {false, true})
        EXPECT_EQ(run(Form::kJoined, dtype, policy, is_deferred), expected) << name_of(dtype);
    }
  }
}

TEST(SwigluLinear, PolicyKeepsTheActivationOrNot) {
  const auto held = [](const RecomputePolicy& policy) {
    Exec exec({.num_threads = 1});
    ParameterStore store;
    Parameter& fc1 = store.add({"fc1", {2 * kFfn, kHidden}, Init::normal(0.5)});
    Parameter& fc2 = store.add({"fc2", {kHidden, kFfn}, Init::normal(0.5)});
    store.materialize(exec, DType::kF32);
    store.initialize(exec);
    Tape tape(exec, {.is_recording = true, .recompute = policy});
    const Var x = tape.leaf(random_values({1024, kHidden}, DType::kF32, 1, exec));
    const Var out = swiglu_linear(tape, linear_swiglu(tape, x, fc1), fc2);
    return exec.ledger().current_bytes();
  };
  EXPECT_EQ(held({}) - held({.ops = {"activation"}}), 1024 * kFfn * 4);
}

}  // namespace
}  // namespace megalith
