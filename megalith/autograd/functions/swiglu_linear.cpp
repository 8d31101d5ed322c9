#include "megalith/autograd/functions/swiglu_linear.h"

#include "megalith/autograd/functions/linear.h"
#include "megalith/autograd/functions/split_products.h"
#include "megalith/ops/activation.h"
#include "megalith/ops/gemm.h"
#include "megalith/ops/linear_swiglu.h"

namespace megalith {
namespace {

Tensor swiglu_of(const Tensor& pre, Exec& exec) {
  const Tensor y = exec.empty({pre.dim(0), pre.dim(1) / 2}, pre.dtype());
  activation(ActivationKind::kSwiglu, pre, y, exec);
  return y;
}

class SwigluLinearNode : public Node {
 public:
  SwigluLinearNode(const Tape& tape, const SwigluRows& rows, Parameter& weight, Communicator* scattered_over,
                   ValueId residual_id = kNoGradient)
      : pre_(tape, rows.pre),
        pre_id_(rows.pre.id),
        residual_id_(residual_id),
        y_(tape.options().recompute.covers("activation") ? Tensor() : rows.y),
        weight_(&weight),
        scattered_over_(scattered_over) {}
  const char* name() const override { return "swiglu_linear"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_out = tape.take_gradient(output());
    tape.add_gradient(residual_id_, d_out);
    Tensor pre, d_pre, y;  // y: the one that is not kept
    if (pre_id_ != kNoGradient) {
      pre = pre_.get(exec);
      d_pre = exec.empty(pre.shape(), pre.dtype());
      if (!y_.defined()) y = exec.empty({pre.dim(0), pre.dim(1) / 2}, pre.dtype());
    }
    d_out_ = products_of_gathered(
        d_out, scattered_over_, OwnRows::kCopy, exec, [&](int64_t first, const Tensor& rows) {
          if (!pre.defined()) return;
          const int64_t end = first + rows.dim(0);
          swiglu_linear_backward_input({.d_out = rows,
                                        .weight = weight_->data,
                                        .pre = pre.slice(0, first, end),
                                        .d_pre = d_pre.slice(0, first, end),
                                        .y = y.defined() ? y.slice(0, first, end) : y},
                                       exec);
        });
    if (y.defined()) y_ = y;
    if (pre.defined()) tape.add_gradient(pre_id_, d_pre);
  }

  bool has_backward_weight() const override { return true; }
  void backward_weight(Exec& exec) override {
    make_self_contained(exec);
    accumulate_weight_gradient(d_out_, y_, *weight_, exec);
  }
  void make_self_contained(Exec& exec) override {
    if (!y_.defined()) y_ = swiglu_of(pre_.get(exec), exec);
    pre_ = {};
  }

 private:
  Saved pre_;
  ValueId pre_id_, residual_id_;
  Tensor y_;
  Parameter* weight_;
  Communicator* scattered_over_;
  Tensor d_out_;
};

}  // namespace

SwigluRows swiglu(Tape& tape, const Var& pre) {
  return {pre, swiglu_of(pre.data, tape.exec())};
}

SwigluRows linear_swiglu(Tape& tape, const Var& x, Parameter& weight) {
  const int64_t tokens = x.data.dim(0), width = weight.data.dim(0);
  const Tensor pre = tape.exec().empty({tokens, width}, x.data.dtype());
  const Tensor y = tape.exec().empty({tokens, width / 2}, x.data.dtype());
  linear_swiglu({.x = x.data, .weight = weight.data, .pre = pre, .y = y}, tape.exec());
  return {record_linear(tape, x, weight, pre), y};
}

namespace {

Tensor forward(const Tensor& y, const Tensor& weight, Communicator* summed_over, Exec& exec) {
  return sum_of_scattered({y.dim(0), weight.dim(0)}, y.dtype(), summed_over, exec,
                          [&](int64_t first, const Tensor& rows) {
                            gemm({.a = y.slice(0, first, first + rows.dim(0)),
                                  .b = weight,
                                  .c = rows,
                                  .transpose_b = Transpose::kYes},
                                 exec);
                          });
}

}  // namespace

Var swiglu_linear(Tape& tape, const SwigluRows& rows, Parameter& weight, Communicator* scattered_over) {
  return tape.apply<SwigluLinearNode>(forward(rows.y, weight.data, scattered_over, tape.exec()), tape, rows,
                                      weight, scattered_over);
}

Var swiglu_linear_sum(Tape& tape, const SwigluRows& rows, Parameter& weight, const Var& residual) {
  const Tensor sum = tape.exec().empty(residual.data.shape(), rows.y.dtype());
  gemm({.a = rows.y, .b = weight.data, .c = sum, .transpose_b = Transpose::kYes, .addend = residual.data},
       tape.exec());
  return tape.apply<SwigluLinearNode>(sum, tape, rows, weight, nullptr, residual.id);
}

Var swiglu_linear_term(Tape& tape, const SwigluRows& rows, Parameter& weight, Communicator& scattered_over) {
  return tape.apply<SwigluLinearNode>(forward(rows.y, weight.data, nullptr, tape.exec()), tape, rows, weight,
                                      &scattered_over);
}

}  // namespace megalith
