#include <utility>

#include "megalith/ops/attention_merge.h"
#include "megalith/ops/elementwise.h"
#include "megalith/parallel/context/context_attention.h"
#include "megalith/parallel/context/ring_exchange.h"

namespace megalith {
namespace {

class RingAttention {
 public:
  RingAttention(const AttentionOptions& options, Communicator& group, int64_t tokens,
                std::shared_ptr<const PackedContext> packed)
      : options_(options),
        heads_(options_, group.size(), group.rank(), tokens),
        plan_(heads_, std::move(packed)),
        exchange_(group, plan_) {}
  RingAttention(const RingAttention&) = delete;
  RingAttention& operator=(const RingAttention&) = delete;

  const ContextHeads& heads() const { return heads_; }
  const RingPlan& plan() const { return plan_; }
  const RingExchange& exchange() const { return exchange_; }
  std::vector<Meeting> meetings(int step, Exec& exec) const {
    return plan_.meetings(exchange_.before(step), exec);
  }

  /// This rank's keys and values, [B, S / n, 2 K, D].
  Tensor own_keys_values(const Tensor& qkv, Exec& exec) const {
    const Tensor view = heads_.keys_values(qkv);
    const Tensor own = exec.empty(view.shape(), view.dtype());
    copy(view, own, exec);
    return own;
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
  ContextHeads heads_;
  RingPlan plan_;
  RingExchange exchange_;
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

  // Keys and values are sent again rather than kept, each while the ones before are attended to; their
  // gradients go back to where they came from, one step behind. The last ones travel beside what is left of
  // this rank's own block.
  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const ContextHeads& heads = ring_->heads();
    const RingExchange& exchange = ring_->exchange();
    const Tensor d_out = heads.heads(tape.take_gradient(output()));
    const Tensor& qkv = qkv_.get(exec);
    const DType sum_dtype = qkv.dtype() == DType::kF64 ? DType::kF64 : DType::kF32;
    for (int part = 0; part < ring_->plan().num_parts(); ++part) {
      const ContextHeads::Stretch queries = ring_->plan().part(part);
      heads.options.sink.differentiate(queries.of(d_out), queries.of(heads.heads(out_)),
                                       lse_[static_cast<size_t>(part)], exec);
    }
    const Tensor own = ring_->own_keys_values(qkv, exec);
    const Tensor d_own = exec.zeros(own.shape(), sum_dtype);
    const Tensor d_q = exec.zeros(heads.queries(qkv).shape(), sum_dtype);
    // Of its own block: what comes first, and what comes last.
    std::vector<Meeting> now = ring_->meetings(0, exec), later;
    if (exchange.num_steps() > 1 && now.size() > 1) {
      later.push_back(now.front());
      now.erase(now.begin());
    }

    Tensor next = own, d_before, arriving;
    const auto wait = [&] {
      exchange.wait();
      if (arriving.defined()) add(d_own, arriving, d_own, exec);
      arriving = {};
    };
    for (int step = 0; step < exchange.num_steps(); ++step) {
      const Tensor kv = next;
      wait();
      next = exchange.keys_values(own, step + 1, exec);
      if (step > 1) arriving = exchange.gradients(d_before, d_own, step - 1, exec);
      Tensor d_kv = d_own;
      if (step > 0) d_kv = kv.defined() ? exec.zeros(own.shape(), sum_dtype) : Tensor{};
      for (const Meeting& meeting : step == 0 ? now : ring_->meetings(step, exec))
        differentiate(meeting, qkv, kv, d_out, d_q, d_kv, exec);
      d_before = d_kv;
    }
    if (exchange.num_steps() > 1) {
      wait();
      arriving = exchange.gradients(d_before, d_own, exchange.num_steps() - 1, exec);
      for (const Meeting& meeting : later) differentiate(meeting, qkv, own, d_out, d_q, d_own, exec);
      wait();
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
  Tensor next = own;
  for (int step = 0; step < ring->exchange().num_steps(); ++step) {
    const Tensor kv = next;
    ring->exchange().wait();
    next = ring->exchange().keys_values(own, step + 1, exec);
    for (const Meeting& meeting : ring->meetings(step, exec)) {
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
  for (int index = 0; index < ring->plan().num_parts(); ++index) {
    const Tensor part = ring->plan().part(index).of(heads.heads(out));
    copy(sums[static_cast<size_t>(index)], part, exec);
    options.sink.join(part, lse[static_cast<size_t>(index)], exec);
  }
  return tape.apply<RingAttentionNode>(out, tape, qkv, std::move(ring), out, lse);
}

}  // namespace megalith
