#include "megalith/ops/elementwise.h"
#include "megalith/parallel/context/context_attention.h"
#include "megalith/parallel/context/context_heads.h"

namespace megalith {
namespace {

class AllGatherAttention {
 public:
  AllGatherAttention(const AttentionOptions& options, Communicator& group, int64_t tokens)
      : options_(options), group_(&group), heads_(options_, group.size(), group.rank(), tokens) {}
  AllGatherAttention(const AllGatherAttention&) = delete;
  AllGatherAttention& operator=(const AllGatherAttention&) = delete;

  const ContextHeads& heads() const { return heads_; }

  // [B, S, 2 K, D]
  Tensor all_keys_values(const Tensor& qkv, Exec& exec) const {
    const Tensor view = heads_.keys_values(qkv);
    const Tensor own = exec.empty(view.shape(), view.dtype());
    copy(view, own, exec);
    const Tensor by_rank =
        exec.empty({group_->size(), own.dim(0), own.dim(1), own.dim(2), own.dim(3)}, own.dtype());
    group_->all_gather(own, by_rank, "keys and values");
    return heads_.zigzag.to_sequence(by_rank, exec);
  }

  // A half's queries see the keys up to their own chunk's end, which is where the causal mask is anchored.
  AttentionArgs half_args(const Tensor& qkv, const Tensor& kv, const Tensor& out, const Tensor& lse,
                          int half) const {
    const int chunk = heads_.chunk_of(half);
    const Tensor seen = kv.slice(1, 0, (chunk + 1) * heads_.zigzag.chunk());
    AttentionArgs args = heads_.args(heads_.half(heads_.queries(qkv), half), seen,
                                     heads_.half(heads_.heads(out), half), lse, static_cast<uint64_t>(chunk));
    if (options_.first_key.defined()) args.first_key = heads_.half(options_.first_key, half);
    return args;
  }

  // The sum over the ranks of d_kv [B, S, 2 K, D], this rank's share.
  Tensor own_share(const Tensor& d_kv, Exec& exec) const {
    const Tensor by_rank = heads_.zigzag.to_ranks(d_kv, exec);
    const Tensor own =
        exec.empty({by_rank.dim(1), by_rank.dim(2), by_rank.dim(3), by_rank.dim(4)}, d_kv.dtype());
    group_->reduce_scatter(by_rank, own, ReduceOp::kSum, "d_keys and values");
    return own;
  }

 private:
  AttentionOptions options_;
  Communicator* group_;
  ContextHeads heads_;
};

class AllGatherAttentionNode : public Node {
 public:
  AllGatherAttentionNode(const Tape& tape, const Var& qkv, std::unique_ptr<AllGatherAttention> forward,
                         Tensor out, std::array<Tensor, 2> lse)
      : qkv_(tape, qkv),
        qkv_id_(qkv.id),
        forward_(std::move(forward)),
        out_(std::move(out)),
        lse_(std::move(lse)) {}
  const char* name() const override { return "all_gather_attention"; }

  // Keys and values are gathered again rather than kept.
  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const ContextHeads& heads = forward_->heads();
    const Tensor d_out = tape.take_gradient(output());
    const Tensor& qkv = qkv_.get(exec);
    const Tensor kv = forward_->all_keys_values(qkv, exec);
    const Tensor d_qkv = exec.empty(qkv.shape(), qkv.dtype());
    const Tensor d_kv = exec.zeros(kv.shape(), kv.dtype());
    const int64_t k = heads.options.num_query_groups;
    for (int half = 0; half < 2; ++half) {
      const AttentionArgs args = forward_->half_args(qkv, kv, out_, lse_[static_cast<size_t>(half)], half);
      const Tensor part = exec.empty({kv.dim(0), args.k.dim(1), 2 * k, kv.dim(3)}, kv.dtype());
      attention_backward({.forward = args,
                          .d_out = heads.half(heads.heads(d_out), half),
                          .d_q = heads.half(heads.queries(d_qkv), half),
                          .d_k = part.slice(2, 0, k),
                          .d_v = part.slice(2, k, 2 * k)},
                         exec);
      for (int64_t b = 0; b < kv.dim(0); ++b) {
        const Tensor sum = d_kv.slice(0, b, b + 1).slice(1, 0, part.dim(1));
        add(sum, part.slice(0, b, b + 1), sum, exec);
      }
    }
    copy(forward_->own_share(d_kv, exec), heads.keys_values(d_qkv), exec);
    tape.add_gradient(qkv_id_, d_qkv);
  }

 private:
  Saved qkv_;
  ValueId qkv_id_;
  std::unique_ptr<AllGatherAttention> forward_;
  Tensor out_;
  std::array<Tensor, 2> lse_;
};

}  // namespace

Var all_gather_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& group) {
  Exec& exec = tape.exec();
  const int64_t tokens = qkv.data.dim(0);
  auto forward = std::make_unique<AllGatherAttention>(options, group, tokens);
  const Tensor kv = forward->all_keys_values(qkv.data, exec);
  const Tensor out = exec.empty({tokens, options.num_heads * options.head_dim}, qkv.data.dtype());
  std::array<Tensor, 2> lse;
  for (int half = 0; half < 2; ++half) {
    Tensor& half_lse = lse[static_cast<size_t>(half)];
    if (tape.is_recording()) half_lse = forward->heads().new_lse(out.dtype(), exec);
    attention(forward->half_args(qkv.data, kv, out, half_lse, half), exec);
  }
  return tape.apply<AllGatherAttentionNode>(out, tape, qkv, std::move(forward), out, lse);
}

}  // namespace megalith
