#include "megalith/autograd/functions/head_norm.h"

#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

// [T, W] -> the range as [T, count, dim], on the same memory.
Tensor heads_of(const Tensor& x, const HeadRange& heads) {
  return x.view({x.dim(0), x.dim(1) / heads.dim, heads.dim}).slice(1, heads.first, heads.first + heads.count);
}

// A row for each head of each token, which the norm needs at one distance.
Tensor gathered_rows(const Tensor& x, const HeadRange& heads, Exec& exec) {
  const Tensor rows = exec.empty({x.dim(0) * heads.count, heads.dim}, x.dtype());
  copy(heads_of(x, heads), rows.view({x.dim(0), heads.count, heads.dim}), exec);
  return rows;
}

void put_back(const Tensor& rows, const Tensor& x, const HeadRange& heads, Exec& exec) {
  copy(rows.view({x.dim(0), heads.count, heads.dim}), heads_of(x, heads), exec);
}

class HeadNormNode : public Node {
 public:
  HeadNormNode(ValueId x_id, const HeadRange& heads, const NormWeights& weights, const NormArgs& forward)
      : x_id_(x_id),
        heads_(heads),
        weights_(weights),
        rows_(forward.x),
        mean_(forward.mean),
        rstd_(forward.rstd) {}
  const char* name() const override { return "head_norm"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_y = tape.take_gradient(output());
    MG_ASSERT(d_y.is_unique());
    const Tensor d_rows = gathered_rows(d_y, heads_, exec);
    Parameter& weight = *weights_.weight;
    NormBackwardArgs args{.kind = weights_.kind,
                          .d_y = d_rows,
                          .x = rows_,
                          .weight = weight.data,
                          .mean = mean_,
                          .rstd = rstd_,
                          .d_x = d_rows,
                          .d_weight = weight.main_grad,
                          .accumulate = weight.begin_grad_write() != 0};
    if (weights_.bias != nullptr) {
      args.d_bias = weights_.bias->main_grad;
      MG_ASSERT((weights_.bias->begin_grad_write() != 0) == args.accumulate);
    }
    norm_backward(args, exec);
    put_back(d_rows, d_y, heads_, exec);
    tape.add_gradient(x_id_, d_y);
  }

 private:
  ValueId x_id_;
  HeadRange heads_;
  NormWeights weights_;
  Tensor rows_, mean_, rstd_;
};

}  // namespace

Var head_norm(Tape& tape, const Var& x, const HeadRange& heads, const NormWeights& weights) {
  Exec& exec = tape.exec();
  const Tensor rows = gathered_rows(x.data, heads, exec);
  const DType statistics = accumulate_dtype(rows.dtype());
  NormArgs args{.kind = weights.kind,
                .x = rows,
                .weight = weights.weight->data,
                .bias = weights.bias != nullptr ? weights.bias->data : Tensor(),
                .eps = weights.eps,
                .y = exec.empty(rows.shape(), rows.dtype()),
                .rstd = exec.empty({rows.dim(0)}, statistics)};
  if (weights.kind == NormKind::kLayerNorm) args.mean = exec.empty({rows.dim(0)}, statistics);
  norm(args, exec);
  put_back(args.y, x.data, heads, exec);
  return tape.apply<HeadNormNode>(x.data, x.id, heads, weights, args);
}

}  // namespace megalith
