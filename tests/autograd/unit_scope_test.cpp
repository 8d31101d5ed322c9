// The order in which hooks are called around uses of parameter units.
#include "megalith/autograd/unit_scope.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/autograd/functions/linear.h"
#include "megalith/autograd/segment.h"

namespace megalith {
namespace {

using ::testing::ElementsAre;

// Writes down what is called, as "forward a".
class Diary : public UnitHooks {
 public:
  void before_forward(const UnitUse& use, Exec&) override { note("forward", use); }
  void after_forward(const UnitUse& use, Exec&) override { note("forward done", use); }
  void before_backward(const UnitUse& use, Exec&) override { note("backward", use); }
  void after_backward(const UnitUse& use, Exec&) override { note("backward done", use); }
  void before_gradients(const UnitUse& use, Exec&) override { note("gradients", use); }
  void gradients_done(const UnitUse& use, Exec&) override { note("gradients done", use); }

  std::vector<std::string> take() { return std::exchange(entries_, {}); }

 private:
  void note(const std::string& what, const UnitUse& use) {
    entries_.push_back(what + " " + use.units.front()->name);
  }
  std::vector<std::string> entries_;
};

// Two linear layers, each a unit; the second writes its gradients in the forward, as the output head does.
struct TwoLayers {
  TwoLayers() {
    for (const char* name : {"a", "b"}) {
      ParameterUnit& unit = store.begin_unit(name);
      weights.push_back(&store.add({.name = name, .shape = {2, 2}, .init = Init::ones()}));
      uses.push_back(
          &store.add_use({.units = {&unit}, .writes_gradients_in_forward = std::string(name) == "b"}));
    }
    store.materialize(exec, DType::kF32);
    store.initialize(exec);
    store.allocate_gradients(exec);
    store.set_hooks(&diary);
  }
  Var forward(Tape& tape, Var x) {
    for (size_t i = 0; i < weights.size(); ++i) {
      x = in_units(tape, store, *uses[i], [&] {
        return segment(tape, std::vector<Var>{x}, [this, i](Tape& inner, const std::vector<Var>& inputs) {
          return linear(inner, inputs[0], *weights[i]);
        });
      });
    }
    return x;
  }
  Tensor ones() {
    const Tensor x = exec.empty({1, 2}, DType::kF32);
    x.data<float>()[0] = x.data<float>()[1] = 1;
    return x;
  }

  Exec exec{{.num_threads = 1}};
  Diary diary;
  ParameterStore store;
  std::vector<Parameter*> weights;
  std::vector<const UnitUse*> uses;
};

TEST(UnitScope, InferenceCallsTheHooksOfTheForward) {
  TwoLayers model;
  Tape tape(model.exec, {.is_recording = false, .recompute = {}});
  model.forward(tape, {model.ones()});
  EXPECT_THAT(model.diary.take(), ElementsAre("forward a", "forward done a", "forward b", "forward done b"));
}

TEST(UnitScope, TheBackwardCallsThemInReverse) {
  for (const bool is_full : {false, true}) {
    TwoLayers model;
    Tape tape(model.exec, {.is_recording = true, .recompute = {.full = is_full, .ops = {}}});
    const Var y = model.forward(tape, tape.leaf(model.ones()));
    EXPECT_THAT(model.diary.take(),
                ElementsAre("forward a", "forward done a", "forward b", "gradients b", "forward done b"));
    tape.backward(y, model.ones());
    EXPECT_THAT(model.diary.take(),
                ElementsAre("backward b", "gradients b", "backward done b", "gradients done b", "backward a",
                            "gradients a", "backward done a", "gradients done a"));
  }
}

TEST(UnitScope, DeferredWeightGradientsAreDoneWhenTheQueueHasPassedThem) {
  TwoLayers model;
  Tape tape(model.exec);
  const Var y = model.forward(tape, tape.leaf(model.ones()));
  model.diary.take();
  WgradQueue deferred;
  tape.backward(y, model.ones(), &deferred);
  EXPECT_THAT(model.diary.take(), ElementsAre("backward b", "gradients b", "backward done b", "backward a",
                                              "gradients a", "backward done a"));
  EXPECT_TRUE(model.weights[0]->grad_is_fresh);
  deferred.drain(model.exec);
  EXPECT_FALSE(model.weights[0]->grad_is_fresh);
  EXPECT_THAT(model.diary.take(), ElementsAre("gradients done b", "gradients done a"));
}

TEST(UnitScope, WithoutHooksNothingIsRecorded) {
  TwoLayers model;
  model.store.set_hooks(nullptr);
  Tape tape(model.exec);
  const Var y = model.forward(tape, tape.leaf(model.ones()));
  tape.backward(y, model.ones());
  EXPECT_TRUE(model.diary.take().empty());
}

// Shares of two ranks, side by side, are the whole; what is drawn for them is what the whole is drawn.
TEST(ParameterStore, SharesAreStretchesOfTheWhole) {
  const auto build = [](ParameterStore& store, Exec& exec, const FlatSharing& sharing) {
    store.begin_unit("a");
    store.add({.name = "a.weight", .shape = {5, 7}, .init = Init::normal(1)});
    store.add({.name = "a.expert", .shape = {100}, .init = Init::normal(1), .is_expert = true});
    store.begin_unit("b");
    store.add({.name = "b.weight", .shape = {300}, .init = Init::normal(1)});
    store.materialize(exec, DType::kF32, sharing);
    store.initialize(exec);
    store.allocate_gradients(exec);
  };
  Exec exec{{.num_threads = 1}};
  ParameterStore whole;
  build(whole, exec, {});
  std::map<std::string, std::vector<double>> pieces;
  for (const int index : {0, 1}) {
    ParameterStore part;
    build(part, exec,
          {.dense = {index, 2}, .expert = {0, 1}, .shards_weights = true, .shards_gradients = true});
    EXPECT_FALSE(part.find("a.weight").data.defined());
    EXPECT_TRUE(part.find("a.expert").data.defined()) << "one rank holds all of it";
    part.visit_owned([&](const Parameter& parameter, int64_t begin, const Tensor& data) {
      std::vector<double>& all = pieces[parameter.name()];
      if (parameter.spec.is_expert && index == 1) return;
      EXPECT_EQ(begin, static_cast<int64_t>(all.size())) << parameter.name();
      for (const double value : to_vector<double>(data)) all.push_back(value);
    });
  }
  for (const auto& parameter : whole.parameters())
    EXPECT_EQ(pieces.at(parameter->name()), to_vector<double>(parameter->data)) << parameter->name();
}

}  // namespace
}  // namespace megalith
