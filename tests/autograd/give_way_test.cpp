// A backward in parts, and the forward of another tape in between.
#include <functional>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/autograd/functions/linear.h"
#include "megalith/autograd/segment.h"

namespace megalith {
namespace {

using ::testing::ElementsAre;

constexpr int kLayers = 3;

// Linear layers, each with a place to give way before and behind it.
struct Layers {
  Layers() {
    for (int i = 0; i < kLayers; ++i)
      weights.push_back(
          &store.add({.name = "w" + std::to_string(i), .shape = {4, 4}, .init = Init::normal(1)}));
    store.materialize(exec, DType::kF32);
    store.initialize(exec);
    store.allocate_gradients(exec);
  }
  Var forward(Tape& tape, Var x, const std::function<void(int)>& at_layer = {}) {
    for (int i = 0; i < kLayers; ++i) {
      x = segment(tape, std::vector<Var>{x}, [this, i](Tape& inner, const std::vector<Var>& inputs) {
        inner.give_way();
        const Var y = linear(inner, inputs[0], *weights[static_cast<size_t>(i)]);
        inner.give_way();
        return y;
      });
      if (at_layer) at_layer(i);
    }
    return x;
  }
  Tensor input(double first) {
    std::vector<float> values;
    for (int i = 0; i < 8; ++i) values.push_back(static_cast<float>(first + 0.37 * i));
    return exec.from_host(std::span<const float>(values), {2, 4});
  }
  // Of two microbatches one after another, or with the second's forward beside the first's backward.
  std::vector<std::vector<double>> gradients(bool is_paired, WgradQueue* deferred = nullptr) {
    store.mark_gradients_fresh();
    Tape* beside = nullptr;
    const Tape::Options options{.at_give_way = [&] {
      if (beside != nullptr) beside->advance();
    }};
    Tape first(exec, options), second(exec, options);
    const Var x0 = first.leaf(input(1)), y0 = forward(first, x0);
    const Var x1 = second.leaf(input(-2));
    if (is_paired) first.begin_backward(y0, input(3), deferred);
    if (is_paired) beside = &first;
    if (!is_paired) first.backward(y0, input(3), deferred);
    const Var y1 = forward(second, x1);
    beside = nullptr;
    while (first.advance()) {
    }
    second.backward(y1, input(4), deferred);
    if (deferred != nullptr) deferred->drain(exec);
    std::vector<std::vector<double>> result = {to_vector<double>(first.gradient(x0)),
                                               to_vector<double>(second.gradient(x1))};
    for (const Parameter* weight : weights) result.push_back(to_vector<double>(weight->main_grad));
    return result;
  }

  Exec exec{{.num_threads = 1}};
  ParameterStore store;
  std::vector<Parameter*> weights;
};

TEST(GiveWay, TheBackwardStopsWhereTheForwardGaveWay) {
  Layers model;
  int num_turns = 0;
  std::vector<int> turns_at_layer;
  Tape tape(model.exec, {.at_give_way = [&] { ++num_turns; }});
  const Var x = tape.leaf(model.input(1));
  const Var y = model.forward(tape, x, [&](int) { turns_at_layer.push_back(num_turns); });
  EXPECT_THAT(turns_at_layer, ElementsAre(2, 4, 6));

  model.store.mark_gradients_fresh();
  tape.begin_backward(y, model.input(1));
  std::vector<int> written;  // layers whose gradients are there at each stop
  do {
    int count = 0;
    for (const Parameter* weight : model.weights) count += weight->grad_is_fresh ? 0 : 1;
    written.push_back(count);
    EXPECT_EQ(tape.gradient(x).defined(), count == kLayers);
  } while (tape.advance());
  EXPECT_THAT(written, ElementsAre(0, 0, 1, 1, 2, 2, 3));
  EXPECT_FALSE(tape.advance());
  EXPECT_EQ(num_turns, 6) << "a backward calls nobody";
}

TEST(GiveWay, WithoutAHookNothingStops) {
  Layers model;
  Tape tape(model.exec);
  const Var y = model.forward(tape, tape.leaf(model.input(1)));
  tape.begin_backward(y, model.input(1));
  EXPECT_FALSE(tape.advance());
}

TEST(GiveWay, InferenceGivesWayAndRecordsNothing) {
  Layers model;
  int num_turns = 0;
  Tape tape(model.exec, {.is_recording = false, .at_give_way = [&] { ++num_turns; }});
  EXPECT_EQ(model.forward(tape, {model.input(1)}).id, kNoGradient);
  EXPECT_EQ(num_turns, 2 * kLayers);
}

TEST(GiveWay, AForwardBetweenThePartsOfABackwardChangesNoBit) {
  Layers model;
  const auto expected = model.gradients(false);
  EXPECT_EQ(model.gradients(true), expected);
  WgradQueue deferred;
  EXPECT_EQ(model.gradients(true, &deferred), expected);
  EXPECT_EQ(deferred.size(), 0u);
}

}  // namespace
}  // namespace megalith
