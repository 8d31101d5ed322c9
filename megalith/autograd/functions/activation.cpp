#include "megalith/autograd/functions/activation.h"

namespace megalith {
namespace {

Tensor forward(ActivationKind kind, const Tensor& x, Exec& exec) {
  const Tensor y = exec.empty({x.dim(0), is_gated(kind) ? x.dim(1) / 2 : x.dim(1)}, x.dtype());
  activation(kind, x, y, exec);
  return y;
}

class ActivationNode : public Node {
 public:
  ActivationNode(const Tape& tape, const Var& x, ActivationKind kind)
      : x_(tape, x), x_id_(x.id), kind_(kind) {}
  const char* name() const override { return "activation"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor& x = x_.get(exec);
    const Tensor d_x = exec.empty(x.shape(), x.dtype());
    activation_backward(kind_, x, tape.take_gradient(output()), d_x, exec);
    tape.add_gradient(x_id_, d_x);
  }

  bool can_recompute() const override { return true; }
  Tensor recompute(Exec& exec) override { return forward(kind_, x_.get(exec), exec); }

 private:
  Saved x_;
  ValueId x_id_;
  ActivationKind kind_;
};

}  // namespace

Var activation(Tape& tape, const Var& x, ActivationKind kind) {
  const Tensor y = forward(kind, x.data, tape.exec());
  return tape.apply<ActivationNode>(y, tape, x, kind);
}

}  // namespace megalith
