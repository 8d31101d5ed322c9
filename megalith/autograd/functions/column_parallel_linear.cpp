#include "megalith/autograd/functions/column_parallel_linear.h"

#include "megalith/autograd/functions/split_products.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

// The whole X, from this rank's rows of it.
Tensor whole_input(const Tensor& x, const TensorGroups& groups, Communicator& group, Exec& exec) {
  if (!groups.is_sequence_parallel) return x;
  const Tensor whole = exec.empty({x.dim(0) * group.size(), x.dim(1)}, x.dtype());
  group.all_gather(x, whole, "column_parallel_linear");
  return whole;
}

// From a rank's term of the gradient of X, the gradient of its x.
Tensor summed_input(const Tensor& d_whole, const TensorGroups& groups, Communicator& group, Exec& exec) {
  if (!groups.is_sequence_parallel) {
    group.all_reduce(d_whole, ReduceOp::kSum, "d_column_parallel_linear");
    return d_whole;
  }
  const Tensor d_x = exec.empty({d_whole.dim(0) / group.size(), d_whole.dim(1)}, d_whole.dtype());
  group.reduce_scatter(d_whole, d_x, ReduceOp::kSum, "d_column_parallel_linear");
  return d_x;
}

class ColumnParallelLinearNode : public Node {
 public:
  ColumnParallelLinearNode(const Tape& tape, const Var& x, Parameter& weight, Parameter* bias,
                           const TensorGroups& groups)
      : x_(tape, x), x_id_(x.id), weight_(&weight), bias_(bias), groups_(groups) {}
  const char* name() const override { return "linear"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    d_y_ = tape.take_gradient(output());
    if (bias_ != nullptr) {
      const bool accumulate = bias_->begin_grad_write() != 0;
      sum_rows({.x = d_y_, .out = bias_->main_grad, .accumulate = accumulate}, exec);
    }
    if (tape.deferred() != nullptr) {
      return tape.add_gradient(x_id_, in_line_input_gradient(exec));
    }
    Communicator& beside = *groups_.beside;
    const Tensor whole_x = whole_input(x_.get(exec), groups_, beside, exec);
    const Tensor d_whole = input_gradient(exec);
    beside.wait();
    const Tensor d_x = summed_input(d_whole, groups_, beside, exec);
    accumulate_weight_gradient(d_y_, whole_x, *weight_, exec);
    beside.wait();
    tape.add_gradient(x_id_, d_x);
    has_weight_gradient_ = true;
  }

  bool has_backward_weight() const override { return !has_weight_gradient_; }
  void backward_weight(Exec& exec) override {
    const Tensor whole_x = whole_input(x_.get(exec), groups_, *groups_.in_line, exec);
    accumulate_weight_gradient(d_y_, whole_x, *weight_, exec);
  }
  void make_self_contained(Exec& exec) override { x_.get(exec); }

 private:
  Tensor input_gradient(Exec& exec) const {
    const Tensor d_whole = exec.empty({d_y_.dim(0), weight_->data.dim(1)}, d_y_.dtype());
    gemm({.a = d_y_, .b = weight_->data, .c = d_whole}, exec);
    return d_whole;
  }
  Tensor in_line_input_gradient(Exec& exec) const {
    if (!groups_.splits_products) return summed_input(input_gradient(exec), groups_, *groups_.in_line, exec);
    return sum_of_scattered(
        {d_y_.dim(0), weight_->data.dim(1)}, d_y_.dtype(), groups_.beside, exec,
        [&](int64_t first, const Tensor& rows) {
          gemm({.a = d_y_.slice(0, first, first + rows.dim(0)), .b = weight_->data, .c = rows}, exec);
        });
  }

  Saved x_;
  ValueId x_id_;
  Parameter* weight_;
  Parameter* bias_;
  TensorGroups groups_;
  Tensor d_y_;
  bool has_weight_gradient_ = false;
};

}  // namespace

Var column_parallel_linear(Tape& tape, const SharedRows& shared, Parameter& weight, LinearBias bias,
                           const TensorGroups& groups) {
  const Var& x = shared.own;
  if (groups.in_line->size() == 1) return linear(tape, x, weight, bias);
  Exec& exec = tape.exec();
  const int64_t num_parts = groups.is_sequence_parallel ? groups.in_line->size() : 1;
  const Tensor y = exec.empty({num_parts * x.data.dim(0), weight.data.dim(0)}, x.data.dtype());
  const bool is_whole = shared.whole.defined() || !groups.splits_products;
  const Tensor input = shared.whole.defined()   ? shared.whole
                       : groups.splits_products ? x.data
                                                : whole_input(x.data, groups, *groups.in_line, exec);
  products_of_gathered(
      input, is_whole ? nullptr : groups.beside, OwnRows::kLeave, exec,
      [&](int64_t first, const Tensor& rows) {
        gemm({.a = rows,
              .b = weight.data,
              .c = y.slice(0, first, first + rows.dim(0)),
              .transpose_b = Transpose::kYes,
              .bias = bias.parameter != nullptr && bias.is_added ? bias.parameter->data : Tensor()},
             exec);
      });
  return tape.apply<ColumnParallelLinearNode>(y, tape, x, weight, bias.parameter, groups);
}

}  // namespace megalith
