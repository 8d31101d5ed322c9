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

class ExchangeRowsNode : public Node {
 public:
  ExchangeRowsNode(ValueId x_id, RowExchange exchange) : x_id_(x_id), exchange_(std::move(exchange)) {}
  const char* name() const override { return "exchange_rows"; }
  void backward_input(Tape& tape) override {
    const Tensor d_y = tape.take_gradient(output());
    tape.add_gradient(x_id_, exchanged(d_y, exchange_.reversed(), tape.exec(), "d_exchange_rows"));
  }

 private:
  ValueId x_id_;
  RowExchange exchange_;
};

}  // namespace

Var exchange_rows(Tape& tape, const Var& x, const RowExchange& exchange) {
  return tape.apply<ExchangeRowsNode>(exchanged(x.data, exchange, tape.exec(), "exchange_rows"), x.id,
                                      exchange);
}

}  // namespace megalith
