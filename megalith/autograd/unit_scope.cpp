#include "megalith/autograd/unit_scope.h"

namespace megalith {
namespace {

// Recorded behind the nodes of a use: the backward meets it first.
class UseEndNode : public Node {
 public:
  UseEndNode(UnitHooks& hooks, const UnitUse& use) : hooks_(&hooks), use_(&use) {}
  const char* name() const override { return "use_end"; }
  bool is_mark() const override { return true; }
  void backward_input(Tape& tape) override {
    hooks_->before_backward(*use_, tape.exec());
    hooks_->before_gradients(*use_, tape.exec());
  }

 private:
  UnitHooks* hooks_;
  const UnitUse* use_;
};

// Recorded before the nodes of a use. Where weight gradients are put off, the second half stands behind them
// in the queue.
class UseBeginNode : public Node {
 public:
  UseBeginNode(UnitHooks& hooks, const UnitUse& use) : hooks_(&hooks), use_(&use) {}
  const char* name() const override { return "use_begin"; }
  bool is_mark() const override { return true; }
  void backward_input(Tape& tape) override { hooks_->after_backward(*use_, tape.exec()); }
  bool has_backward_weight() const override { return true; }
  void backward_weight(Exec& exec) override { hooks_->gradients_done(*use_, exec); }

 private:
  UnitHooks* hooks_;
  const UnitUse* use_;
};

}  // namespace

UnitScope::UnitScope(Tape& tape, const ParameterStore& store, const UnitUse& use)
    : tape_(&tape), hooks_(store.hooks()), use_(&use) {
  if (hooks_ == nullptr) return;
  hooks_->before_forward(use, tape.exec());
  if (!tape.is_recording()) return;
  if (use.writes_gradients_in_forward) hooks_->before_gradients(use, tape.exec());
  tape.record<UseBeginNode>(*hooks_, use);
}

void UnitScope::leave() {
  if (hooks_ == nullptr) return;
  if (tape_->is_recording()) tape_->record<UseEndNode>(*hooks_, *use_);
  hooks_->after_forward(*use_, tape_->exec());
}

}  // namespace megalith
