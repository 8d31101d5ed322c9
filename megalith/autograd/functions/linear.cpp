#include "megalith/autograd/functions/linear.h"

#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

class LinearNode : public Node {
 public:
  LinearNode(const Tape& tape, const Var& x, Parameter& weight, Parameter* bias)
      : x_(tape, x), x_id_(x.id), weight_(&weight), bias_(bias) {}
  const char* name() const override { return "linear"; }

  void backward_input(Tape& tape) override {
    d_y_ = tape.take_gradient(output());
    if (x_id_ != kNoGradient) {
      const Tensor d_x = tape.exec().empty({d_y_.dim(0), weight_->data.dim(1)}, d_y_.dtype());
      gemm({.a = d_y_, .b = weight_->data, .c = d_x}, tape.exec());
      tape.add_gradient(x_id_, d_x);
    }
    if (bias_ != nullptr) {
      const bool accumulate = bias_->begin_grad_write() != 0;
      sum_rows({.x = d_y_, .out = bias_->main_grad, .accumulate = accumulate}, tape.exec());
    }
  }

  bool has_backward_weight() const override { return true; }
  void backward_weight(Exec& exec) override {
    accumulate_weight_gradient(d_y_, x_.get(exec), *weight_, exec);
  }
  void make_self_contained(Exec& exec) override { x_.get(exec); }

 private:
  Saved x_;
  ValueId x_id_;
  Parameter* weight_;
  Parameter* bias_;
  Tensor d_y_;
};

}  // namespace

void accumulate_weight_gradient(const Tensor& d_y, const Tensor& x, Parameter& weight, Exec& exec) {
  const double beta = weight.begin_grad_write();
  gemm({.a = d_y, .b = x, .c = weight.main_grad, .transpose_a = Transpose::kYes, .beta = beta}, exec);
}

Var linear(Tape& tape, const Var& x, Parameter& weight, LinearBias bias) {
  const Tensor y = tape.exec().empty({x.data.dim(0), weight.data.dim(0)}, x.data.dtype());
  gemm({.a = x.data,
        .b = weight.data,
        .c = y,
        .transpose_b = Transpose::kYes,
        .bias = bias.parameter != nullptr && bias.is_added ? bias.parameter->data : Tensor()},
       tape.exec());
  return tape.apply<LinearNode>(y, tape, x, weight, bias.parameter);
}

Var record_linear(Tape& tape, const Var& x, Parameter& weight, const Tensor& y) {
  return tape.apply<LinearNode>(y, tape, x, weight, nullptr);
}

}  // namespace megalith
