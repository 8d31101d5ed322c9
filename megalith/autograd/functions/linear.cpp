#include "megalith/autograd/functions/linear.h"

#include "megalith/autograd/functions/split_products.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

class LinearNode : public Node {
 public:
  LinearNode(const Tape& tape, const Var& x, Parameter& weight, Parameter* bias, Communicator* scattered_over,
             ValueId residual_id = kNoGradient)
      : x_(tape, x),
        x_id_(x.id),
        residual_id_(residual_id),
        weight_(&weight),
        bias_(bias),
        scattered_over_(scattered_over) {}
  const char* name() const override { return "linear"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_y = tape.take_gradient(output());
    tape.add_gradient(residual_id_, d_y);
    const int64_t num_pieces = scattered_over_ != nullptr ? scattered_over_->size() : 1;
    Tensor d_x;
    if (x_id_ != kNoGradient) d_x = exec.empty({num_pieces * d_y.dim(0), weight_->data.dim(1)}, d_y.dtype());
    d_y_ = products_of_gathered(
        d_y, scattered_over_, OwnRows::kCopy, exec, [&](int64_t first, const Tensor& rows) {
          if (!d_x.defined()) return;
          gemm({.a = rows, .b = weight_->data, .c = d_x.slice(0, first, first + rows.dim(0))}, exec);
        });
    if (d_x.defined()) tape.add_gradient(x_id_, d_x);
    if (bias_ != nullptr) {
      const bool accumulate = bias_->begin_grad_write() != 0;
      sum_rows({.x = d_y_, .out = bias_->main_grad, .accumulate = accumulate}, exec);
    }
  }

  bool has_backward_weight() const override { return true; }
  void backward_weight(Exec& exec) override {
    accumulate_weight_gradient(d_y_, x_.get(exec), *weight_, exec);
  }
  void make_self_contained(Exec& exec) override { x_.get(exec); }

 private:
  Saved x_;
  ValueId x_id_, residual_id_;
  Parameter* weight_;
  Parameter* bias_;
  Communicator* scattered_over_;
  Tensor d_y_;
};

}  // namespace

void accumulate_weight_gradient(const Tensor& d_y, const Tensor& x, Parameter& weight, Exec& exec) {
  const double beta = weight.begin_grad_write();
  const Tensor& gradient = weight.main_grad;
  const bool is_rounded = d_y.dtype() == DType::kF32 && gradient.dtype() == DType::kBF16;
  const Tensor sum = is_rounded ? exec.empty(gradient.shape(), DType::kF32) : gradient;
  if (is_rounded && beta != 0) copy(gradient, sum, exec);
  gemm({.a = d_y, .b = x, .c = sum, .transpose_a = Transpose::kYes, .beta = beta}, exec);
  if (is_rounded) copy(sum, gradient, exec);
}

namespace {

// `summed_over` ranks is the result, null for none.
Tensor forward(const Tensor& x, Parameter& weight, LinearBias bias, Communicator* summed_over, Exec& exec) {
  return sum_of_scattered(
      {x.dim(0), weight.data.dim(0)}, x.dtype(), summed_over, exec, [&](int64_t first, const Tensor& rows) {
        gemm({.a = x.slice(0, first, first + rows.dim(0)),
              .b = weight.data,
              .c = rows,
              .transpose_b = Transpose::kYes,
              .bias = bias.parameter != nullptr && bias.is_added ? bias.parameter->data : Tensor()},
             exec);
      });
}

}  // namespace

Var linear(Tape& tape, const Var& x, Parameter& weight, LinearBias bias, Communicator* scattered_over) {
  const Tensor y = forward(x.data, weight, bias, scattered_over, tape.exec());
  return tape.apply<LinearNode>(y, tape, x, weight, bias.parameter, scattered_over);
}

Var linear_sum(Tape& tape, const Var& x, Parameter& weight, const Var& residual) {
  const Tensor y = tape.exec().empty(residual.data.shape(), x.data.dtype());
  gemm({.a = x.data, .b = weight.data, .c = y, .transpose_b = Transpose::kYes, .addend = residual.data},
       tape.exec());
  return tape.apply<LinearNode>(y, tape, x, weight, nullptr, nullptr, residual.id);
}

Var linear_term(Tape& tape, const Var& x, Parameter& weight, LinearBias bias, Communicator& scattered_over) {
  const Tensor y = forward(x.data, weight, bias, nullptr, tape.exec());
  return tape.apply<LinearNode>(y, tape, x, weight, bias.parameter, &scattered_over);
}

Var record_linear(Tape& tape, const Var& x, Parameter& weight, const Tensor& y) {
  return tape.apply<LinearNode>(y, tape, x, weight, nullptr, nullptr);
}

}  // namespace megalith
