#include "megalith/autograd/functions/swiglu_linear.h"

#include "megalith/autograd/functions/linear.h"
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
  SwigluLinearNode(const Tape& tape, const SwigluRows& rows, Parameter& weight)
      : pre_(tape, rows.pre),
        pre_id_(rows.pre.id),
        y_(tape.options().recompute.covers("activation") ? Tensor() : rows.y),
        weight_(&weight) {}
  const char* name() const override { return "swiglu_linear"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    d_out_ = tape.take_gradient(output());
    if (pre_id_ == kNoGradient) return;
    const Tensor& pre = pre_.get(exec);
    const Tensor d_pre = exec.empty(pre.shape(), pre.dtype());
    swiglu_linear_backward_input({.d_out = d_out_, .weight = weight_->data, .pre = pre, .d_pre = d_pre},
                                 exec);
    tape.add_gradient(pre_id_, d_pre);
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
  ValueId pre_id_;
  Tensor y_;
  Parameter* weight_;
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

Var swiglu_linear(Tape& tape, const SwigluRows& rows, Parameter& weight) {
  const Tensor out = tape.exec().empty({rows.y.dim(0), weight.data.dim(0)}, rows.y.dtype());
  gemm({.a = rows.y, .b = weight.data, .c = out, .transpose_b = Transpose::kYes}, tape.exec());
  return tape.apply<SwigluLinearNode>(out, tape, rows, weight);
}

}  // namespace megalith
