#include "megalith/autograd/functions/norm.h"

#include "megalith/ops/peer_norm.h"

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

// All but what is normalised, which is like `x`.
NormArgs make_args(const Tensor& x, const Tensor& residual, const NormWeights& weights, Exec& exec) {
  const int64_t rows = x.dim(0);
  NormArgs args{.kind = weights.kind,
                .residual = residual,
                .weight = weights.weight->data,
                .bias = weights.bias != nullptr ? weights.bias->data : Tensor(),
                .eps = weights.eps,
                .y = exec.empty(x.shape(), x.dtype()),
                .rstd = exec.empty({rows}, statistics_dtype(x))};
  if (weights.kind == NormKind::kLayerNorm) args.mean = exec.empty({rows}, statistics_dtype(x));
  if (residual.defined()) args.sum = exec.empty(x.shape(), x.dtype());
  return args;
}

NormResult recorded(Tape& tape, const NormWeights& weights, const NormArgs& args, ValueId x_id,
                    ValueId residual_id) {
  const Tensor sum = args.residual.defined() ? args.sum : args.x;
  if (!tape.is_recording()) return {.sum = {sum}, .y = {args.y}};
  auto& node = tape.record<NormNode>(weights, args, x_id, residual_id);
  const Var sum_var = tape.output(sum, node);
  return {.sum = sum_var, .y = tape.output(args.y, node)};
}

}  // namespace

NormResult norm(Tape& tape, const Var& x, const NormWeights& weights) {
  NormArgs args = make_args(x.data, Tensor(), weights, tape.exec());
  args.x = x.data;
  megalith::norm(args, tape.exec());
  return recorded(tape, weights, args, x.id, kNoGradient);
}

NormResult add_norm(Tape& tape, const Var& x, const Var& residual, const NormWeights& weights) {
  NormArgs args = make_args(x.data, residual.data, weights, tape.exec());
  args.x = x.data;
  megalith::norm(args, tape.exec());
  return recorded(tape, weights, args, x.id, residual.id);
}

NormResult sum_add_norm(Tape& tape, const Var& term, const Var& residual, const NormWeights& weights,
                        const NormPeers& peers) {
  Exec& exec = tape.exec();
  const NormArgs args = make_args(residual.data, residual.data, weights, exec);
  const Tensor whole = exec.empty(term.data.shape(), term.data.dtype());
  const Tensor own[] = {term.data, whole};
  const PeerAccess::Places places = peers.access->open(own);
  peer_norm({.norm = args, .rank = peers.rank, .terms = places[0], .wholes = places[1]}, exec);
  peers.access->close();
  NormResult result = recorded(tape, weights, args, term.id, residual.id);
  result.whole = whole;
  return result;
}

}  // namespace megalith
