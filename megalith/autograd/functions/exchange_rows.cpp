#include "megalith/autograd/functions/exchange_rows.h"

#include <numeric>

#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

Tensor exchanged(const Tensor& x, const RowExchange& exchange, Exec& exec, const char* label) {
  const auto sum = [](const std::vector<int64_t>& rows) {
    return std::accumulate(rows.begin(), rows.end(), int64_t{0});
  };
  const int64_t sent = sum(exchange.send_rows), received = sum(exchange.recv_rows);
  MG_CHECK(
      x.dim(0) == exchange.send_length && sent <= exchange.send_length && received <= exchange.recv_length,
      "{}: {} rows, {} to send of {}, {} to receive of {}", label, x.dim(0), sent, exchange.send_length,
      received, exchange.recv_length);
  const Tensor y = exec.empty({exchange.recv_length, x.dim(1)}, x.dtype());
  if (exchange.group->size() == 1) {
    MG_CHECK(sent == received, "{}: a rank alone sends {} rows and receives {}", label, sent, received);
    copy(x.slice(0, 0, sent), y.slice(0, 0, received), exec);
  } else {
    exchange.group->all_to_all_v(x.slice(0, 0, sent), exchange.send_rows, y.slice(0, 0, received),
                                 exchange.recv_rows, label);
  }
  if (received < exchange.recv_length) fill(y.slice(0, received, exchange.recv_length), 0, exec);
  return y;
}

// The other has the gradient travel; here it must have come.
class BeginExchangeRowsNode : public Node {
 public:
  BeginExchangeRowsNode(ValueId x_id, Communicator* group) : x_id_(x_id), group_(group) {}
  const char* name() const override { return "begin_exchange_rows"; }
  void backward_input(Tape& tape) override {
    group_->wait();
    tape.add_gradient(x_id_, tape.take_gradient(output()));
  }

 private:
  ValueId x_id_;
  Communicator* group_;
};

class EndExchangeRowsNode : public Node {
 public:
  EndExchangeRowsNode(const Var& begun, RowExchange exchange)
      : begun_(begun.id), cols_(begun.data.dim(1)), exchange_(std::move(exchange)) {}
  const char* name() const override { return "end_exchange_rows"; }
  void backward_input(Tape& tape) override {
    const Tensor d_y = tape.take_gradient(output()).view({exchange_.recv_length, cols_});
    tape.add_gradient(begun_, exchanged(d_y, exchange_.of_gradients(), tape.exec(), "d_exchange_rows"));
  }

 private:
  ValueId begun_;
  int64_t cols_;
  RowExchange exchange_;
};

}  // namespace

Var begin_exchange_rows(Tape& tape, const Var& x, const RowExchange& exchange) {
  return tape.apply<BeginExchangeRowsNode>(exchanged(x.data, exchange, tape.exec(), "exchange_rows"), x.id,
                                           exchange.of_gradients().group);
}

Var end_exchange_rows(Tape& tape, const Var& begun, const RowExchange& exchange) {
  exchange.group->wait();
  return tape.apply<EndExchangeRowsNode>(begun.data, begun, exchange);
}

}  // namespace megalith
