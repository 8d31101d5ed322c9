#include "megalith/autograd/functions/norm.h"

namespace megalith {
namespace {

DType statistics_dtype(const Tensor& x) {
  return x.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
}

class NormNode : public Node {
 public:
  NormNode(const NormWeights& weights, const NormArgs& forward, ValueId x_id, ValueId residual_id)
      : weights_(weights),
        x_(forward.residual.defined() ? forward.sum : forward.x),
        mean_(forward.mean),
        rstd_(forward.rstd),
        x_id_(x_id),
        residual_id_(residual_id) {}
  const char* name() const override { return "norm"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_sum = tape.take_gradient(output(0));
    const Tensor d_y = tape.take_gradient(output(1));
    if (!d_y.defined()) return pass_on(tape, d_sum);
    Parameter& weight = *weights_.weight;
    const Tensor d_x = exec.empty(x_.shape(), x_.dtype());
    NormBackwardArgs args{.kind = weights_.kind,
                          .d_y = d_y,
                          .d_sum = d_sum,
                          .x = x_,
                          .weight = weight.data,
                          .mean = mean_,
                          .rstd = rstd_,
                          .d_x = d_x,
                          .d_weight = weight.main_grad};
    args.accumulate = weight.begin_grad_write() != 0;
    if (weights_.bias != nullptr) {
      args.d_bias = weights_.bias->main_grad;
      MG_ASSERT((weights_.bias->begin_grad_write() != 0) == args.accumulate);
    }
    norm_backward(args, exec);
    pass_on(tape, d_x);
  }

  bool can_recompute() const override { return true; }
  Tensor recompute(Exec& exec) override {
    const Tensor y = exec.empty(x_.shape(), x_.dtype());
    megalith::norm({.kind = weights_.kind,
                    .x = x_,
                    .weight = weights_.weight->data,
                    .bias = weights_.bias != nullptr ? weights_.bias->data : Tensor(),
                    .eps = weights_.eps,
                    .y = y,
                    .mean = mean_,
                    .rstd = rstd_},
                   exec);
    return y;
  }

 private:
  void pass_on(Tape& tape, const Tensor& d_x) {
    tape.add_gradient(x_id_, d_x);
    tape.add_gradient(residual_id_, d_x);
  }

  NormWeights weights_;
  Tensor x_, mean_, rstd_;
  ValueId x_id_, residual_id_;
};

NormResult run(Tape& tape, const Var& x, const Var* residual, const NormWeights& weights) {
  Exec& exec = tape.exec();
  const int64_t rows = x.data.dim(0);
  NormArgs args{.kind = weights.kind,
                .x = x.data,
                .weight = weights.weight->data,
                .bias = weights.bias != nullptr ? weights.bias->data : Tensor(),
                .eps = weights.eps,
                .y = exec.empty(x.data.shape(), x.data.dtype()),
                .rstd = exec.empty({rows}, statistics_dtype(x.data))};
  if (weights.kind == NormKind::kLayerNorm) args.mean = exec.empty({rows}, statistics_dtype(x.data));
  if (residual != nullptr) {
    args.residual = residual->data;
    args.sum = exec.empty(x.data.shape(), x.data.dtype());
  }
  megalith::norm(args, exec);
  const Tensor sum = residual != nullptr ? args.sum : x.data;
  if (!tape.is_recording()) return {.sum = {sum}, .y = {args.y}};
  auto& node = tape.record<NormNode>(weights, args, x.id, residual != nullptr ? residual->id : kNoGradient);
  const Var sum_var = tape.output(sum, node);
  const Var y_var = tape.output(args.y, node);
  return {.sum = sum_var, .y = y_var};
}

}  // namespace

NormResult norm(Tape& tape, const Var& x, const NormWeights& weights) {
  return run(tape, x, nullptr, weights);
}

NormResult add_norm(Tape& tape, const Var& x, const Var& residual, const NormWeights& weights) {
  return run(tape, x, &residual, weights);
}

}  // namespace megalith
