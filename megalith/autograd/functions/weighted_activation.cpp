#include "megalith/autograd/functions/weighted_activation.h"

#include "megalith/ops/weighted_activation.h"

namespace megalith {
namespace {

Tensor weighted(ActivationKind kind, const Tensor& x, const Tensor& weights, const Tensor& num_rows,
                Exec& exec) {
  const Tensor y = exec.empty({x.dim(0), is_gated(kind) ? x.dim(1) / 2 : x.dim(1)}, x.dtype());
  weighted_activation({.kind = kind, .x = x, .weights = weights, .y = y, .num_rows = num_rows}, exec);
  return y;
}

class WeightedActivationNode : public Node {
 public:
  WeightedActivationNode(const Tape& tape, const Var& x, const Var& weights, ActivationKind kind,
                         Tensor num_rows)
      : x_(tape, x),
        weights_(weights.data),
        num_rows_(std::move(num_rows)),
        x_id_(x.id),
        weights_id_(weights.id),
        kind_(kind) {}
  const char* name() const override { return "activation"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    WeightedActivationBackwardArgs args{.kind = kind_, .x = x_.get(exec), .weights = weights_};
    args.num_rows = num_rows_;
    args.d_y = tape.take_gradient(output());
    args.d_x = exec.empty(args.x.shape(), args.x.dtype());
    if (weights_id_ != kNoGradient) args.d_weights = exec.empty(weights_.shape(), weights_.dtype());
    weighted_activation_backward(args, exec);
    if (weights_id_ != kNoGradient) tape.add_gradient(weights_id_, args.d_weights);
    tape.add_gradient(x_id_, args.d_x);
  }

  bool can_recompute() const override { return true; }
  Tensor recompute(Exec& exec) override { return weighted(kind_, x_.get(exec), weights_, num_rows_, exec); }

 private:
  Saved x_;
  Tensor weights_;   // [M, 1]
  Tensor num_rows_;  // [1] or undefined
  ValueId x_id_, weights_id_;
  ActivationKind kind_;
};

}  // namespace

Var weighted_activation(Tape& tape, const Var& x, const Var& weights, ActivationKind kind,
                        const Tensor& num_rows) {
  const Tensor y = weighted(kind, x.data, weights.data, num_rows, tape.exec());
  return tape.apply<WeightedActivationNode>(y, tape, x, weights, kind, num_rows);
}

}  // namespace megalith
