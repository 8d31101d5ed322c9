#include <utility>

#include "megalith/ops/attention_merge.h"
#include "megalith/ops/elementwise.h"
#include "megalith/parallel/context/context_attention.h"
#include "megalith/parallel/context/ring_plan.h"

namespace megalith {
namespace {

class RingAttention {
 public:
  RingAttention(const AttentionOptions& options, Communicator& group, int64_t tokens,
                std::shared_ptr<const PackedContext> packed)
      : options_(options),
        group_(&group),
        heads_(options_, group.size(), group.rank(), tokens),
        plan_(heads_, std::move(packed)) {}
  RingAttention(const RingAttention&) = delete;
  RingAttention& operator=(const RingAttention&) = delete;

  const ContextHeads& heads() const { return heads_; }
  const RingPlan& plan() const { return plan_; }
  int num_steps() const { return group_->size(); }

  /// This rank's keys and values, [B, S / n, 2 K, D].
  Tensor own_keys_values(const Tensor& qkv, Exec& exec) const {
    const Tensor view = heads_.keys_values(qkv);
    const Tensor own = exec.empty(view.shape(), view.dtype());
    copy(view, own, exec);
    return own;
  }

  /// In step j a rank looks at what the rank j places before it has, and the one j places behind at this
  /// one's.
  int before(int step) const { return (group_->rank() + group_->size() - step) % group_->size(); }
  int behind(int step) const { return (group_->rank() + step) % group_->size(); }
  bool looks(int step) const { return plan_.meets(group_->rank(), before(step)); }
  bool is_looked_at(int step) const { return plan_.meets(behind(step), group_->rank()); }

  struct Mail {
    Tensor send;  // undefined: nothing goes
    int to;
    bool receives;
    int from;
  };
  /// What comes has the shape of `like`; undefined where nothing does.
  Tensor exchange(const Mail& mail, const Tensor& like, const char* label, Exec& exec) const {
    Tensor received;
    if (mail.receives) received = exec.empty(like.shape(), like.dtype());
    if (mail.send.defined() && mail.receives) {
      group_->send_recv(mail.send, mail.to, received, mail.from, label);
    } else if (mail.send.defined()) {
      group_->send(mail.send, mail.to, label);
    } else if (mail.receives) {
      group_->recv(received, mail.from, label);
    }
    return received;
  }
  /// The keys and values of step j, for its meetings.
  Tensor keys_values(const Tensor& own, int step, Exec& exec) const {
    if (step == 0) return own;
    return exchange({.send = is_looked_at(step) ? own : Tensor{},
                     .to = behind(step),
                     .receives = looks(step),
                     .from = before(step)},
                    own, "keys and values", exec);
  }
  /// The gradients of those go home; this rank's that come from step j's other side.
  Tensor gradients(const Tensor& d_other, const Tensor& like, int step, Exec& exec) const {
    return exchange(
        {.send = d_other, .to = before(step), .receives = is_looked_at(step), .from = behind(step)}, like,
        "d_keys and values", exec);
  }

  AttentionArgs args(const Meeting& meeting, const Tensor& qkv, const Tensor& kv, const Tensor& out,
                     const Tensor& lse) const {
    AttentionArgs args =
        heads_.args(meeting.queries.of(heads_.queries(qkv)), meeting.keys.of(kv), out, lse, meeting.stream);
    args.is_causal = meeting.is_causal;
    args.window = meeting.window;
    args.key_gap = meeting.key_gap;
    args.first_key = meeting.visible.first;
    args.end_key = meeting.visible.end;
    return args;
  }

 private:
  AttentionOptions options_;
  Communicator* group_;
  ContextHeads heads_;
  RingPlan plan_;
};

// sum [B, C, ...] with sequences apart, part contiguous.
void add_to(const Tensor& sum, const Tensor& part, Exec& exec) {
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

  // Keys and values are sent again rather than kept; their gradients go back to where they came from.
  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const ContextHeads& heads = ring_->heads();
    const Tensor d_out = heads.heads(tape.take_gradient(output()));
    const Tensor& qkv = qkv_.get(exec);
    const DType sum_dtype = qkv.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
    const Tensor own = ring_->own_keys_values(qkv, exec);
    const Tensor d_own = exec.zeros(own.shape(), sum_dtype);
    const Tensor d_q = exec.zeros(heads.queries(qkv).shape(), sum_dtype);
    for (int step = 0; step < ring_->num_steps(); ++step) {
      const Tensor kv = ring_->keys_values(own, step, exec);
      Tensor d_kv;
      if (kv.defined()) d_kv = step == 0 ? d_own : exec.zeros(own.shape(), sum_dtype);
      for (const Meeting& meeting : ring_->plan().meetings(ring_->before(step), exec))
        differentiate(meeting, qkv, kv, d_out, d_q, d_kv, exec);
      if (step == 0) continue;
      const Tensor from_peer = ring_->gradients(d_kv, d_own, step, exec);
      if (from_peer.defined()) add(d_own, from_peer, d_own, exec);
    }
    const Tensor d_qkv = exec.empty(qkv.shape(), qkv.dtype());
    copy(d_q, heads.queries(d_qkv), exec);
    copy(d_own, heads.keys_values(d_qkv), exec);
    tape.add_gradient(qkv_id_, d_qkv);
  }

 private:
  // Adds to d_q and d_kv.
  void differentiate(const Meeting& meeting, const Tensor& qkv, const Tensor& kv, const Tensor& d_out,
                     const Tensor& d_q, const Tensor& d_kv, Exec& exec) const {
    const ContextHeads& heads = ring_->heads();
    const int64_t k = heads.options.num_query_groups;
    const AttentionArgs args = ring_->args(meeting, qkv, kv, meeting.queries.of(heads.heads(out_)),
                                           lse_[static_cast<size_t>(meeting.part)]);
    const Tensor part_q = exec.empty(args.q.shape(), qkv.dtype());
    const Tensor part_kv = exec.empty({args.k.dim(0), args.k.dim(1), 2 * k, args.k.dim(3)}, qkv.dtype());
    attention_backward({.forward = args,
                        .d_out = meeting.queries.of(d_out),
                        .d_q = part_q,
                        .d_k = part_kv.slice(2, 0, k),
                        .d_v = part_kv.slice(2, k, 2 * k)},
                       exec);
    add_to(meeting.queries.of(d_q), part_q, exec);
    add_to(meeting.keys.of(d_kv), part_kv, exec);
  }

  Saved qkv_;
  ValueId qkv_id_;
  std::unique_ptr<RingAttention> ring_;
  Tensor out_;
  std::array<Tensor, 2> lse_;  // of the queries' parts
};

}  // namespace

Var ring_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& group,
                   std::shared_ptr<const PackedContext> packed) {
  Exec& exec = tape.exec();
  const int64_t tokens = qkv.data.dim(0);
  auto ring = std::make_unique<RingAttention>(options, group, tokens, std::move(packed));
  const ContextHeads& heads = ring->heads();
  const DType dtype = qkv.data.dtype(), sum_dtype = dtype == DType::kF64 ? DType::kF64 : DType::kF32;

  std::array<Tensor, 2> sums, lse;  // of the queries' parts
  const Tensor own = ring->own_keys_values(qkv.data, exec);
  for (int step = 0; step < ring->num_steps(); ++step) {
    const Tensor kv = ring->keys_values(own, step, exec);
    for (const Meeting& meeting : ring->plan().meetings(ring->before(step), exec)) {
      const auto index = static_cast<size_t>(meeting.part);
      const int64_t count = meeting.queries.count;
      const Shape shape{options.batch, count, options.num_heads, options.head_dim};
      const Tensor part = exec.empty(shape, dtype);
      const Tensor part_lse = heads.new_lse(count, dtype, exec);
      attention(ring->args(meeting, qkv.data, kv, part, part_lse), exec);
      if (sums[index].defined()) {
        attention_merge({.part = part, .part_lse = part_lse, .out = sums[index], .lse = lse[index]}, exec);
      } else {
        sums[index] = exec.empty(shape, sum_dtype);
        copy(part, sums[index], exec);
        lse[index] = part_lse;
      }
    }
  }
  const Tensor out = exec.empty({tokens, options.num_heads * options.head_dim}, dtype);
  for (int index = 0; index < ring->plan().num_parts(); ++index)
    copy(sums[static_cast<size_t>(index)], ring->plan().part(index).of(heads.heads(out)), exec);
  return tape.apply<RingAttentionNode>(out, tape, qkv, std::move(ring), out, lse);
}

}  // namespace megalith
