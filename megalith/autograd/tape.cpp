#include "megalith/autograd/tape.h"

#include <algorithm>

#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

class GiveWayNode : public Node {
 public:
  const char* name() const override { return "give_way"; }
  bool is_mark() const override { return true; }
  bool gives_way() const override { return true; }
  void backward_input(Tape&) override {}
};

}  // namespace

bool RecomputePolicy::covers(const char* op) const {
  return std::find(ops.begin(), ops.end(), op) != ops.end();
}

Saved::Saved(const Tape& tape, const Var& var) : tensor_(var.data) {
  if (var.id == kNoGradient) return;
  Node* producer = tape.values_[static_cast<size_t>(var.id)].producer;
  if (producer != nullptr && producer->can_recompute() && tape.options_.recompute.covers(producer->name())) {
    producer_ = producer;
    tensor_ = {};
  }
}

Var Tape::new_value(Tensor data, Node* producer) {
  if (!options_.is_recording) return {std::move(data), kNoGradient};
  const auto id = static_cast<ValueId>(values_.size());
  values_.push_back({producer, {}});
  if (producer != nullptr) producer->outputs_.push_back(id);
  return {std::move(data), id};
}

void Tape::give_way() {
  if (!options_.at_give_way) return;
  if (is_recording()) record<GiveWayNode>();
  options_.at_give_way();
}

void Tape::backward(const Var& root, Tensor d_root, WgradQueue* deferred) {
  begin_backward(root, std::move(d_root), deferred);
  while (advance()) {
  }
}

void Tape::begin_backward(const Var& root, Tensor d_root, WgradQueue* deferred) {
  MG_ASSERT(options_.is_recording && root.id != kNoGradient);
  deferred_ = deferred;
  add_gradient(root.id, std::move(d_root));
}

bool Tape::advance() {
  while (!nodes_.empty()) {
    std::unique_ptr<Node> node = std::move(nodes_.back());
    nodes_.pop_back();
    if (node->gives_way()) return true;
    run_backward(std::move(node));
  }
  deferred_ = nullptr;
  return false;
}

void Tape::run_backward(std::unique_ptr<Node> node) {
  const bool is_reached =
      node->is_mark() || std::any_of(node->outputs_.begin(), node->outputs_.end(), [&](ValueId id) {
        return values_[static_cast<size_t>(id)].gradient.defined();
      });
  if (!is_reached) return;
  node->backward_input(*this);
  if (!node->has_backward_weight()) return;
  if (deferred_ == nullptr) {
    node->backward_weight(*exec_);
  } else {
    node->make_self_contained(*exec_);
    deferred_->push(std::move(node));
  }
}

Tensor Tape::gradient(const Var& leaf) const {
  MG_ASSERT(leaf.id != kNoGradient);
  return values_[static_cast<size_t>(leaf.id)].gradient;
}

Tensor Tape::take_gradient(ValueId id) {
  return id == kNoGradient ? Tensor() : std::exchange(values_[static_cast<size_t>(id)].gradient, {});
}

void Tape::add_gradient(ValueId id, Tensor gradient) {
  if (id == kNoGradient) return;
  Tensor& sum = values_[static_cast<size_t>(id)].gradient;
  if (!sum.defined()) {
    sum = std::move(gradient);
    return;
  }
  const Tensor out = sum.is_unique() ? sum : exec_->empty(sum.shape(), sum.dtype());
  add(sum, gradient, out, *exec_);
  sum = out;
}

}  // namespace megalith
