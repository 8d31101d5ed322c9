#include <vector>

#include "megalith/ops/elementwise.h"
#include "megalith/parallel/context/context_attention.h"
#include "megalith/parallel/context/context_heads.h"

namespace megalith {
namespace {

class AllGatherAttention {
 public:
  AllGatherAttention(const AttentionOptions& options, const ContextPeers& peers, int64_t tokens, Exec& exec)
      : options_(options),
        group_(peers.group),
        packed_(peers.packed),
        heads_(options_, group_->size(), group_->rank(), tokens),
        order_{.zigzag = heads_.zigzag, .to_sequence_rows = {}, .to_rank_rows = {}} {
    if (packed_ == nullptr) return;
    order_ = packed_->order(0, group_->size(), exec);
    visible_ = packed_->whole_keys(group_->rank(), options_.window, exec);
  }
  AllGatherAttention(const AllGatherAttention&) = delete;
  AllGatherAttention& operator=(const AllGatherAttention&) = delete;

  const ContextHeads& heads() const { return heads_; }

  /// Stretches of this rank's queries, each attended to at once.
  int num_parts() const { return packed_ == nullptr ? 2 : 1; }
  ContextHeads::Stretch part(int index) const {
    return packed_ == nullptr ? heads_.half(index) : heads_.all();
  }

  // [B, S, 2 K, D]
  Tensor all_keys_values(const Tensor& qkv, Exec& exec) const {
    const Tensor view = heads_.keys_values(qkv);
    const Tensor own = exec.empty(view.shape(), view.dtype());
    copy(view, own, exec);
    const Tensor by_rank =
        exec.empty({group_->size(), own.dim(0), own.dim(1), own.dim(2), own.dim(3)}, own.dtype());
    group_->all_gather(own, by_rank, "keys and values");
    return order_.to_sequence(by_rank, exec);
  }

  // A half's queries see the keys up to their own chunk's end, which is where the causal mask is anchored;
  // those of packed documents have their own first and last keys.
  AttentionArgs part_args(const Tensor& qkv, const Tensor& kv, const Tensor& out, const Tensor& lse,
                          int index) const {
    const int chunk = heads_.zigzag.chunk_of(heads_.rank, index);
    const bool is_packed = packed_ != nullptr;
    const Tensor seen = is_packed ? kv : kv.slice(1, 0, (chunk + 1) * heads_.zigzag.chunk());
    AttentionArgs args = heads_.args(part(index).of(heads_.queries(qkv)), seen,
                                     part(index).of(heads_.heads(out)), lse, static_cast<uint64_t>(chunk));
    args.is_causal = !is_packed;
    if (!is_packed) args.window = options_.window;
    args.first_key = visible_.first;
    args.end_key = visible_.end;
    return args;
  }

  // The sum over the ranks of d_kv [B, S, 2 K, D], this rank's share.
  Tensor own_share(const Tensor& d_kv, Exec& exec) const {
    const Tensor by_rank = order_.to_ranks(d_kv, exec);
    const Tensor own =
        exec.empty({by_rank.dim(1), by_rank.dim(2), by_rank.dim(3), by_rank.dim(4)}, d_kv.dtype());
    group_->reduce_scatter(by_rank, own, ReduceOp::kSum, "d_keys and values");
    return own;
  }

 private:
  AttentionOptions options_;
  Communicator* group_;
  std::shared_ptr<const PackedContext> packed_;
  ContextHeads heads_;
  SequenceOrder order_;
  VisibleKeys visible_;  // of packed documents
};

class AllGatherAttentionNode : public Node {
 public:
  AllGatherAttentionNode(const Tape& tape, const Var& qkv, std::unique_ptr<AllGatherAttention> forward,
                         Tensor out, std::vector<Tensor> lse)
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
    for (int index = 0; index < forward_->num_parts(); ++index) {
      const AttentionArgs args = forward_->part_args(qkv, kv, out_, lse_[static_cast<size_t>(index)], index);
      const Tensor part = exec.empty({kv.dim(0), args.k.dim(1), 2 * k, kv.dim(3)}, kv.dtype());
      attention_backward({.forward = args,
                          .d_out = forward_->part(index).of(heads.heads(d_out)),
                          .d_q = forward_->part(index).of(heads.queries(d_qkv)),
                          .d_k = part.slice(2, 0, k),
                          .d_v = part.slice(2, k, 2 * k)},
                         exec);
      heads.options.sink.differentiate(forward_->part(index).of(heads.heads(d_out)), args.out, args.lse,
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
  std::vector<Tensor> lse_;
};

}  // namespace

Var all_gather_attention(Tape& tape, const Var& qkv, const AttentionOptions& options,
                         const ContextPeers& peers) {
  Exec& exec = tape.exec();
  const int64_t tokens = qkv.data.dim(0);
  auto forward = std::make_unique<AllGatherAttention>(options, peers, tokens, exec);
  const Tensor kv = forward->all_keys_values(qkv.data, exec);
  const Tensor out = exec.empty({tokens, options.num_heads * options.head_dim}, qkv.data.dtype());
  std::vector<Tensor> lse(static_cast<size_t>(forward->num_parts()));
  for (int index = 0; index < forward->num_parts(); ++index) {
    Tensor& part_lse = lse[static_cast<size_t>(index)];
    if (tape.is_recording() || options.sink.exists())
      part_lse = forward->heads().new_lse(forward->part(index).count, out.dtype(), exec);
    const AttentionArgs args = forward->part_args(qkv.data, kv, out, part_lse, index);
    attention(args, exec);
    options.sink.join(args.out, part_lse, exec);
  }
  return tape.apply<AllGatherAttentionNode>(out, tape, qkv, std::move(forward), out, lse);
}

}  // namespace megalith
