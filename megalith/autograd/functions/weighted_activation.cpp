#include "megalith/autograd/functions/weighted_activation.h"

#include "megalith/ops/elementwise.h"
#include "megalith/ops/row_map.h"

namespace megalith {
namespace {

Tensor activated(ActivationKind kind, const Tensor& x, Exec& exec) {
  const Tensor y = exec.empty({x.dim(0), is_gated(kind) ? x.dim(1) / 2 : x.dim(1)}, x.dtype());
  activation(kind, x, y, exec);
  return y;
}

Tensor weighted(ActivationKind kind, const Tensor& x, const Tensor& weights, Exec& exec) {
  const Tensor y = activated(kind, x, exec);
  scale_rows(y, weights.view({-1}), y, exec);
  return y;
}

class WeightedActivationNode : public Node {
 public:
  WeightedActivationNode(const Tape& tape, const Var& x, const Var& weights, ActivationKind kind)
      : x_(tape, x), weights_(weights.data), x_id_(x.id), weights_id_(weights.id), kind_(kind) {}
  const char* name() const override { return "activation"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor& x = x_.get(exec);
    const Tensor d_y = tape.take_gradient(output());
    if (weights_id_ != kNoGradient) {
      const Tensor d_weights = exec.empty(weights_.shape(), weights_.dtype());
      row_dots(d_y, activated(kind_, x, exec), d_weights.view({-1}), exec);
      tape.add_gradient(weights_id_, d_weights);
    }
    const Tensor d_activated = d_y.is_unique() ? d_y : exec.empty(d_y.shape(), d_y.dtype());
    scale_rows(d_y, weights_.view({-1}), d_activated, exec);
    const Tensor d_x = exec.empty(x.shape(), x.dtype());
    activation_backward(kind_, x, d_activated, d_x, exec);
    tape.add_gradient(x_id_, d_x);
  }

  bool can_recompute() const override { return true; }
  Tensor recompute(Exec& exec) override { return weighted(kind_, x_.get(exec), weights_, exec); }

 private:
  Saved x_;
  Tensor weights_;  // [M, 1]
  ValueId x_id_, weights_id_;
  ActivationKind kind_;
};

}  // namespace

Var weighted_activation(Tape& tape, const Var& x, const Var& weights, ActivationKind kind) {
  const Tensor y = weighted(kind, x.data, weights.data, tape.exec());
  return tape.apply<WeightedActivationNode>(y, tape, x, weights, kind);
}

}  // namespace megalith
