#include "megalith/autograd/functions/attention.h"

#include "megalith/ops/attention.h"

namespace megalith {
namespace {

struct QkvHeads {
  Tensor q, k, v;  // [B, S, N or K, D] on the fused rows
};

QkvHeads split_heads(const Tensor& qkv, const AttentionOptions& options) {
  const int64_t n = options.num_heads, k = options.num_query_groups;
  const Tensor heads = qkv.view({options.batch, qkv.dim(0) / options.batch, n + 2 * k, options.head_dim});
  return {heads.slice(2, 0, n), heads.slice(2, n, n + k), heads.slice(2, n + k, n + 2 * k)};
}

AttentionArgs make_args(const Tensor& qkv, const AttentionOptions& options, const Tensor& out,
                        const Tensor& lse) {
  const QkvHeads heads = split_heads(qkv, options);
  const Shape out_shape{options.batch, qkv.dim(0) / options.batch, options.num_heads, options.head_dim};
  return {.q = heads.q,
          .k = heads.k,
          .v = heads.v,
          .scale = options.scale,
          .window = options.window,
          .first_key = options.first_key,
          .documents = options.documents,
          .dropout = options.dropout,
          .rng = options.rng,
          .out = out.view(out_shape),
          .lse = lse};
}

class AttentionNode : public Node {
 public:
  AttentionNode(const Tape& tape, const Var& qkv, const AttentionOptions& options, Tensor out, Tensor lse)
      : qkv_(tape, qkv), qkv_id_(qkv.id), options_(options), out_(std::move(out)), lse_(std::move(lse)) {}
  const char* name() const override { return "attention"; }

  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor& qkv = qkv_.get(exec);
    const Tensor d_qkv = exec.empty(qkv.shape(), qkv.dtype());
    const QkvHeads d_heads = split_heads(d_qkv, options_);
    const AttentionArgs forward = make_args(qkv, options_, out_, lse_);
    const Tensor d_out = tape.take_gradient(output()).view(forward.out.shape());
    attention_backward(
        {.forward = forward, .d_out = d_out, .d_q = d_heads.q, .d_k = d_heads.k, .d_v = d_heads.v}, exec);
    options_.sink.differentiate(d_out, forward.out, lse_, exec);
    tape.add_gradient(qkv_id_, d_qkv);
  }

 private:
  Saved qkv_;
  ValueId qkv_id_;
  AttentionOptions options_;
  Tensor out_, lse_;
};

}  // namespace

Var attention(Tape& tape, const Var& qkv, const AttentionOptions& options) {
  Exec& exec = tape.exec();
  const int64_t tokens = qkv.data.dim(0);
  const Tensor out = exec.empty({tokens, options.num_heads * options.head_dim}, qkv.data.dtype());
  Tensor lse;
  if (tape.is_recording() || options.sink.exists()) {
    const DType dtype = qkv.data.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
    lse = exec.empty({options.batch, options.num_heads, tokens / options.batch}, dtype);
  }
  const AttentionArgs args = make_args(qkv.data, options, out, lse);
  megalith::attention(args, exec);
  options.sink.join(args.out, lse, exec);
  return tape.apply<AttentionNode>(out, tape, qkv, options, out, lse);
}

}  // namespace megalith
