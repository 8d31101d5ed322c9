#include <vector>

#include "megalith/ops/elementwise.h"
#include "megalith/parallel/context/context_attention.h"
#include "megalith/parallel/context/context_heads.h"

namespace megalith {
namespace {

// Moves rows between "my tokens, all heads" and "all tokens, my heads". `blocks`: heads of each kind, of
// which every rank gets its share: {N, K, K} for fused rows, {N} for outputs.
struct HeadExchange {
  Communicator* group;
  Zigzag zigzag;
  int64_t batch, head_dim;
  std::vector<int64_t> blocks;

  int64_t share() const {
    int64_t heads = 0;
    for (const int64_t block : blocks) heads += block / group->size();
    return heads;
  }

  // visit(heads of rank r in a row of all heads, the same among r's own heads)
  template <class Visit>
  void visit_shares(const Visit& visit) const {
    const int64_t n = group->size();
    for (int64_t rank = 0; rank < n; ++rank) {
      int64_t block_begin = 0, own_begin = 0;
      for (const int64_t block : blocks) {
        visit(rank, block_begin + rank * (block / n), own_begin, block / n);
        block_begin += block;
        own_begin += block / n;
      }
    }
  }

  Tensor of_rank(const Tensor& by_rank, int64_t rank) const {
    return by_rank.slice(0, rank, rank + 1).view({batch, zigzag.local_seq(), share(), head_dim});
  }

  // [T / n, heads D] -> [T, heads / n D], sequences whole
  Tensor to_sequence(const Tensor& rows, Exec& exec) const {
    const Tensor local = rows.view({batch, zigzag.local_seq(), -1, head_dim});
    const Shape shape{group->size(), batch, zigzag.local_seq(), share(), head_dim};
    const Tensor send = exec.empty(shape, rows.dtype()), received = exec.empty(shape, rows.dtype());
    visit_shares([&](int64_t rank, int64_t begin, int64_t own, int64_t count) {
      copy(local.slice(2, begin, begin + count), of_rank(send, rank).slice(2, own, own + count), exec);
    });
    group->all_to_all(send, received, "heads to sequence");
    return zigzag.to_sequence(received, exec).view({batch * zigzag.seq, share() * head_dim});
  }

  // The inverse.
  Tensor to_heads(const Tensor& rows, Exec& exec) const {
    const Tensor send = zigzag.to_ranks(rows.view({batch, zigzag.seq, share(), head_dim}), exec);
    const Tensor received = exec.empty(send.shape(), rows.dtype());
    group->all_to_all(send, received, "sequence to heads");
    const Tensor out =
        exec.empty({batch * zigzag.local_seq(), share() * group->size() * head_dim}, rows.dtype());
    const Tensor local = out.view({batch, zigzag.local_seq(), -1, head_dim});
    visit_shares([&](int64_t rank, int64_t begin, int64_t own, int64_t count) {
      copy(of_rank(received, rank).slice(2, own, own + count), local.slice(2, begin, begin + count), exec);
    });
    return out;
  }
};

class HeadsToSequenceNode : public Node {
 public:
  HeadsToSequenceNode(ValueId x_id, HeadExchange exchange) : x_id_(x_id), exchange_(std::move(exchange)) {}
  const char* name() const override { return "heads_to_sequence"; }
  void backward_input(Tape& tape) override {
    tape.add_gradient(x_id_, exchange_.to_heads(tape.take_gradient(output()), tape.exec()));
  }

 private:
  ValueId x_id_;
  HeadExchange exchange_;
};

class SequenceToHeadsNode : public Node {
 public:
  SequenceToHeadsNode(ValueId x_id, HeadExchange exchange) : x_id_(x_id), exchange_(std::move(exchange)) {}
  const char* name() const override { return "sequence_to_heads"; }
  void backward_input(Tape& tape) override {
    tape.add_gradient(x_id_, exchange_.to_sequence(tape.take_gradient(output()), tape.exec()));
  }

 private:
  ValueId x_id_;
  HeadExchange exchange_;
};

// [B, S / n] of each rank -> [B, S]
Tensor whole_first_key(const Tensor& own, const Zigzag& zigzag, Communicator& group, Exec& exec) {
  const Tensor packed = exec.empty(own.shape(), own.dtype());
  copy(own, packed, exec);
  const Tensor by_rank = exec.empty({group.size(), own.dim(0), own.dim(1)}, own.dtype());
  group.all_gather(packed, by_rank, "first keys");
  return zigzag.to_sequence(by_rank, exec).view({own.dim(0), zigzag.seq});
}

}  // namespace

Var all_to_all_attention(Tape& tape, const Var& qkv, const AttentionOptions& options, Communicator& group) {
  const int n = group.size();
  if (options.num_heads % n != 0 || options.num_query_groups % n != 0)
    throw UsageError(
        fmt::format("cp_comm_type a2a: {} heads and {} query groups of a rank cannot be shared by "
                    "context_parallel_size {}; p2p and all_gather can do that",
                    options.num_heads, options.num_query_groups, n));
  Exec& exec = tape.exec();
  const Zigzag zigzag{n, qkv.data.dim(0) / options.batch * n};
  const HeadExchange in{&group,
                        zigzag,
                        options.batch,
                        options.head_dim,
                        {options.num_heads, options.num_query_groups, options.num_query_groups}};
  const HeadExchange out{&group, zigzag, options.batch, options.head_dim, {options.num_heads}};
  AttentionOptions own = options;
  own.num_heads /= n;
  own.num_query_groups /= n;
  own.rng = options.rng.fold("context").fold(static_cast<uint64_t>(group.rank()));
  if (options.first_key.defined()) own.first_key = whole_first_key(options.first_key, zigzag, group, exec);

  const Var rows = tape.apply<HeadsToSequenceNode>(in.to_sequence(qkv.data, exec), qkv.id, in);
  const Var heads = attention(tape, rows, own);
  return tape.apply<SequenceToHeadsNode>(out.to_heads(heads.data, exec), heads.id, out);
}

}  // namespace megalith
