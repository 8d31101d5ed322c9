#include "megalith/autograd/functions/linear_cross_entropy.h"

#include "megalith/autograd/functions/linear.h"
#include "megalith/ops/cross_entropy.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

class LinearCrossEntropyNode : public Node {
 public:
  LinearCrossEntropyNode(const Tape& tape, const Var& x, Parameter& weight, Tensor d_logits)
      : x_(tape, x), x_id_(x.id), weight_(&weight), d_logits_(std::move(d_logits)) {}
  const char* name() const override { return "linear_cross_entropy"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    d_loss_ = tape.take_gradient(output());
    const Tensor d_x = exec.empty({d_logits_.dim(0), weight_->data.dim(1)}, d_logits_.dtype());
    gemm({.a = d_logits_, .b = weight_->data, .c = d_x}, exec);
    scale_rows(d_x, d_loss_, d_x, exec);
    tape.add_gradient(x_id_, d_x);
  }

  bool has_backward_weight() const override { return true; }
  void backward_weight(Exec& exec) override {
    const Tensor& x = x_.get(exec);
    const Tensor scaled_x = exec.empty(x.shape(), x.dtype());
    scale_rows(x, d_loss_, scaled_x, exec);
    accumulate_weight_gradient(d_logits_, scaled_x, *weight_, exec);
  }
  void make_self_contained(Exec& exec) override { x_.get(exec); }

 private:
  Saved x_;
  ValueId x_id_;
  Parameter* weight_;
  Tensor d_logits_;  // [T, V] softmax - onehot
  Tensor d_loss_;    // [T]
};

class WeightedSumNode : public Node {
 public:
  WeightedSumNode(ValueId x_id, Tensor weights) : x_id_(x_id), weights_(std::move(weights)) {}
  const char* name() const override { return "weighted_sum"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_sum = tape.take_gradient(output());
    const Tensor d_x = exec.empty(weights_.shape(), weights_.dtype());
    // One row of T elements times the one factor in d_sum.
    scale_rows(weights_.view({1, -1}), d_sum, d_x.view({1, -1}), exec);
    tape.add_gradient(x_id_, d_x);
  }

 private:
  ValueId x_id_;
  Tensor weights_;
};

}  // namespace

Var linear_cross_entropy(Tape& tape, const Var& x, Parameter& weight, const Tensor& labels) {
  Exec& exec = tape.exec();
  const DType sum_dtype = x.data.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
  const Tensor logits = exec.empty({x.data.dim(0), weight.data.dim(0)}, x.data.dtype());
  gemm({.a = x.data, .b = weight.data, .c = logits, .transpose_b = Transpose::kYes}, exec);
  const Tensor loss = exec.empty({x.data.dim(0)}, sum_dtype);
  cross_entropy(
      {.logits = logits, .labels = labels, .loss = loss, .d_logits = tape.is_recording() ? logits : Tensor()},
      exec);
  return tape.apply<LinearCrossEntropyNode>(loss, tape, x, weight, logits);
}

Var weighted_sum(Tape& tape, const Var& x, const Tensor& weights) {
  Exec& exec = tape.exec();
  const Tensor sum = exec.empty({1, 1}, x.data.dtype());
  gemm({.a = x.data.view({1, -1}), .b = weights.view({-1, 1}), .c = sum}, exec);
  return tape.apply<WeightedSumNode>(sum.view({1}), x.id, weights);
}

}  // namespace megalith
