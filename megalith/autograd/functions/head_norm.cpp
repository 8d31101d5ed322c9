#include "megalith/autograd/functions/head_norm.h"

#include "megalith/ops/check.h"

namespace megalith {
namespace {

// [T, W] -> the range as [T, count, dim], on the same memory.
Tensor heads_of(const Tensor& x, const HeadRange& heads) {
  return x.view({x.dim(0), x.dim(1) / heads.dim, heads.dim}).slice(1, heads.first, heads.first + heads.count);
}

class HeadNormNode : public Node {
 public:
  HeadNormNode(ValueId x_id, const HeadRange& heads, const NormWeights& weights, const NormArgs& forward)
      : x_id_(x_id),
        heads_(heads),
        weights_(weights),
        x_(forward.sum),
        mean_(forward.mean),
        rstd_(forward.rstd) {}
  const char* name() const override { return "head_norm"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_y = tape.take_gradient(output());
    MG_ASSERT(d_y.is_unique());
    const Tensor d_heads = heads_of(d_y, heads_);  // becomes that of x
    Parameter& weight = *weights_.weight;
    NormBackwardArgs args{.kind = weights_.kind,
                          .d_y = d_heads,
                          .x = x_,
                          .weight = weight.data,
                          .mean = mean_,
                          .rstd = rstd_,
                          .d_x = d_heads,
                          .d_weight = weight.main_grad,
                          .accumulate = weight.begin_grad_write() != 0};
    if (weights_.bias != nullptr) {
      args.d_bias = weights_.bias->main_grad;
      MG_ASSERT((weights_.bias->begin_grad_write() != 0) == args.accumulate);
    }
    norm_backward(args, exec);
    tape.add_gradient(x_id_, d_y);
  }

 private:
  ValueId x_id_;
  HeadRange heads_;
  NormWeights weights_;
  Tensor x_, mean_, rstd_;
};

}  // namespace

Var head_norm(Tape& tape, const Var& x, const HeadRange& heads, const NormWeights& weights) {
  Exec& exec = tape.exec();
  const Tensor rows = heads_of(x.data, heads);
  const DType statistics = accumulate_dtype(rows.dtype());
  NormArgs args{.kind = weights.kind,
                .x = rows,
                .weight = weights.weight->data,
                .bias = weights.bias != nullptr ? weights.bias->data : Tensor(),
                .eps = weights.eps,
                .sum = exec.empty(rows.shape(), rows.dtype()),  // x, which the backward needs
                .y = rows,
                .rstd = exec.empty({rows.rows()}, statistics)};
  if (weights.kind == NormKind::kLayerNorm) args.mean = exec.empty({rows.rows()}, statistics);
  norm(args, exec);
  return tape.apply<HeadNormNode>(x.data, x.id, heads, weights, args);
}

}  // namespace megalith
