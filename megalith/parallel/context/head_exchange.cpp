#include "megalith/parallel/context/head_exchange.h"

#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

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

}  // namespace

int64_t HeadExchange::share() const {
  int64_t heads = 0;
  for (const int64_t block : blocks) heads += block / group->size();
  return heads;
}

// visit(heads of rank r in a row of all heads, the same among r's own heads)
template <class Visit>
void HeadExchange::visit_shares(const Visit& visit) const {
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

Tensor HeadExchange::of_rank(const Tensor& by_rank, int64_t rank) const {
  return by_rank.slice(0, rank, rank + 1).view({batch, order.zigzag.local_seq(), share(), head_dim});
}

Tensor HeadExchange::to_sequence(const Tensor& rows, Exec& exec) const {
  const int64_t local_seq = order.zigzag.local_seq();
  const Tensor local = rows.view({batch, local_seq, -1, head_dim});
  const Shape shape{group->size(), batch, local_seq, share(), head_dim};
  const Tensor send = exec.empty(shape, rows.dtype()), received = exec.empty(shape, rows.dtype());
  visit_shares([&](int64_t rank, int64_t begin, int64_t own, int64_t count) {
    copy(local.slice(2, begin, begin + count), of_rank(send, rank).slice(2, own, own + count), exec);
  });
  group->all_to_all(send, received, "heads to sequence");
  return order.to_sequence(received, exec).view({batch * order.zigzag.seq, share() * head_dim});
}

Tensor HeadExchange::to_heads(const Tensor& rows, Exec& exec) const {
  const int64_t local_seq = order.zigzag.local_seq();
  const Tensor send = order.to_ranks(rows.view({batch, order.zigzag.seq, share(), head_dim}), exec);
  const Tensor received = exec.empty(send.shape(), rows.dtype());
  group->all_to_all(send, received, "sequence to heads");
  const Tensor out = exec.empty({batch * local_seq, share() * group->size() * head_dim}, rows.dtype());
  const Tensor local = out.view({batch, local_seq, -1, head_dim});
  visit_shares([&](int64_t rank, int64_t begin, int64_t own, int64_t count) {
    copy(of_rank(received, rank).slice(2, own, own + count), local.slice(2, begin, begin + count), exec);
  });
  return out;
}

Var heads_to_sequence(Tape& tape, const Var& x, const HeadExchange& exchange) {
  return tape.apply<HeadsToSequenceNode>(exchange.to_sequence(x.data, tape.exec()), x.id, exchange);
}

Var sequence_to_heads(Tape& tape, const Var& x, const HeadExchange& exchange) {
  return tape.apply<SequenceToHeadsNode>(exchange.to_heads(x.data, tape.exec()), x.id, exchange);
}

}  // namespace megalith
