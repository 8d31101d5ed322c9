#include <utility>

#include "megalith/ops/attention_merge.h"
#include "megalith/ops/elementwise.h"
#include "megalith/parallel/context/context_attention.h"
#include "megalith/parallel/context/context_heads.h"

namespace megalith {
namespace {

// Queries in one half of this rank's share and keys in one half of another's, where the mask lets them meet.
struct Meeting {
  int query_half, key_half;
  bool is_causal;   // the same chunk
  uint64_t stream;  // of the dropout mask
};

class RingAttention {
 public:
  RingAttention(const AttentionOptions& options, Communicator& group, int64_t tokens)
      : options_(options), group_(&group), heads_(options_, group.size(), group.rank(), tokens) {}
  RingAttention(const RingAttention&) = delete;
  RingAttention& operator=(const RingAttention&) = delete;

  const ContextHeads& heads() const { return heads_; }
  int num_steps() const { return group_->size(); }

  /// This rank's keys and values, [B, 2 C, 2 K, D].
  Tensor own_keys_values(const Tensor& qkv, Exec& exec) const {
    const Tensor view = heads_.keys_values(qkv);
    const Tensor own = exec.empty(view.shape(), view.dtype());
    copy(view, own, exec);
    return own;
  }

  /// What was this rank's goes to the next one; what comes is the one's before.
  Tensor pass_on(const Tensor& x, Exec& exec, const char* label) const {
    const int n = group_->size(), rank = group_->rank();
    Tensor next = exec.empty(x.shape(), x.dtype());
    group_->send_recv(x, (rank + 1) % n, next, (rank + n - 1) % n, label);
    return next;
  }

  /// In step j the keys are those of rank r - j. The first meeting of each half is with its own chunk.
  std::vector<Meeting> meetings(int step) const {
    const int n = group_->size();
    const int owner = (group_->rank() + n - step) % n;
    std::vector<Meeting> all;
    for (int q = 0; q < 2; ++q) {
      for (int k = 0; k < 2; ++k) {
        const int query_chunk = heads_.chunk_of(q), key_chunk = heads_.zigzag.chunk_of(owner, k);
        if (key_chunk <= query_chunk)
          all.push_back(
              {q, k, key_chunk == query_chunk, static_cast<uint64_t>(query_chunk * 2 * n + key_chunk)});
      }
    }
    return all;
  }

  AttentionArgs args(const Meeting& meeting, const Tensor& qkv, const Tensor& kv, const Tensor& out,
                     const Tensor& lse) const {
    AttentionArgs args = heads_.args(heads_.half(heads_.queries(qkv), meeting.query_half),
                                     heads_.half(kv, meeting.key_half), out, lse, meeting.stream);
    args.is_causal = meeting.is_causal;
    return args;
  }

 private:
  AttentionOptions options_;
  Communicator* group_;
  ContextHeads heads_;
};

class RingAttentionNode : public Node {
 public:
  RingAttentionNode(const Tape& tape, const Var& qkv, std::unique_ptr<RingAttention> ring, Tensor out,
                    std::array<Tensor, 2> lse)
      : qkv_(tape, qkv),
        qkv_id_(qkv.id),
        ring_(std::move(ring)),
        out_(std::move(out)),
        lse_(std::move(lse)) {}
  const char* name() const override { return "ring_attention"; }

  // The gradients of keys and values travel with them and are home after the last step.
  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const ContextHeads& heads = ring_->heads();
    const int64_t k = heads.options.num_query_groups;
    const Tensor d_out = heads.heads(tape.take_gradient(output()));
    const Tensor& qkv = qkv_.get(exec);
    const DType sum_dtype = qkv.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
    Tensor kv = ring_->own_keys_values(qkv, exec);
    Tensor d_kv = exec.zeros(kv.shape(), sum_dtype);
    const Tensor d_q = exec.zeros(heads.queries(qkv).shape(), sum_dtype);
    for (int step = 0; step < ring_->num_steps(); ++step) {
      for (const Meeting& meeting : ring_->meetings(step)) {
        const AttentionArgs args =
            ring_->args(meeting, qkv, kv, heads.half(heads.heads(out_), meeting.query_half),
                        lse_[static_cast<size_t>(meeting.query_half)]);
        const Tensor part_q = exec.empty(args.q.shape(), qkv.dtype());
        const Tensor part_kv = exec.empty({args.k.dim(0), args.k.dim(1), 2 * k, args.k.dim(3)}, qkv.dtype());
        attention_backward({.forward = args,
                            .d_out = heads.half(d_out, meeting.query_half),
                            .d_q = part_q,
                            .d_k = part_kv.slice(2, 0, k),
                            .d_v = part_kv.slice(2, k, 2 * k)},
                           exec);
        add_to(heads.half(d_q, meeting.query_half), part_q, exec);
        add_to(heads.half(d_kv, meeting.key_half), part_kv, exec);
      }
      if (step + 1 < ring_->num_steps()) kv = ring_->pass_on(kv, exec, "keys and values");
      d_kv = ring_->pass_on(d_kv, exec, "d_keys and values");
    }
    const Tensor d_qkv = exec.empty(qkv.shape(), qkv.dtype());
    copy(d_q, heads.queries(d_qkv), exec);
    copy(d_kv, heads.keys_values(d_qkv), exec);
    tape.add_gradient(qkv_id_, d_qkv);
  }

 private:
  // sum [B, C, ...] with sequences apart, part contiguous.
  static void add_to(const Tensor& sum, const Tensor& part, Exec& exec) {
    Tensor wide = part;
    if (part.dtype() != sum.dtype()) {
      wide = exec.empty(part.shape(), sum.dtype());
      copy(part, wide, exec);
    }
    for (int64_t b = 0; b < sum.dim(0); ++b) {
      const Tensor one = sum.slice(0, b, b + 1);
      add(one, wide.slice(0, b, b + 1), one, exec);
    }
  }

  Saved qkv_;
  ValueId qkv_id_;
  std::unique_ptr<RingAttention> ring_;
  Tensor out_;
  std::array<Tensor, 2> lse_;
};

}  // namespace

Var ring_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& group) {
  if (options.first_key.defined())
    throw UsageError(
        "cp_comm_type p2p does not mask packed documents (reset_attention_mask); a2a and all_gather do");
  Exec& exec = tape.exec();
  const int64_t tokens = qkv.data.dim(0);
  auto ring = std::make_unique<RingAttention>(options, group, tokens);
  const ContextHeads& heads = ring->heads();
  const DType dtype = qkv.data.dtype(), sum_dtype = dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  const Shape half_shape{options.batch, heads.zigzag.chunk(), options.num_heads, options.head_dim};

  std::array<Tensor, 2> sums, lse;  // of the queries' halves
  Tensor kv = ring->own_keys_values(qkv.data, exec);
  for (int step = 0; step < ring->num_steps(); ++step) {
    for (const Meeting& meeting : ring->meetings(step)) {
      const auto half = static_cast<size_t>(meeting.query_half);
      const Tensor part = exec.empty(half_shape, dtype);
      const Tensor part_lse = heads.new_lse(dtype, exec);
      attention(ring->args(meeting, qkv.data, kv, part, part_lse), exec);
      if (sums[half].defined()) {
        attention_merge({.part = part, .part_lse = part_lse, .out = sums[half], .lse = lse[half]}, exec);
      } else {
        sums[half] = exec.empty(half_shape, sum_dtype);
        copy(part, sums[half], exec);
        lse[half] = part_lse;
      }
    }
    if (step + 1 < ring->num_steps()) kv = ring->pass_on(kv, exec, "keys and values");
  }
  const Tensor out = exec.empty({tokens, options.num_heads * options.head_dim}, dtype);
  for (int half = 0; half < 2; ++half)
    copy(sums[static_cast<size_t>(half)], heads.half(heads.heads(out), half), exec);
  return tape.apply<RingAttentionNode>(out, tape, qkv, std::move(ring), out, lse);
}

}  // namespace megalith
