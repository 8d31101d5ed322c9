#include "megalith/autograd/functions/peer_rows.h"

namespace megalith {
namespace {

void check_readable(std::span<const Tensor> own) {
  for (const Tensor& tensor : own)
    MG_CHECK(tensor.is_contiguous(), "peers read a tensor {} that is not contiguous", tensor.shape().str());
}

// work(places): those of each tensor by rank, to be read and written until it returns.
template <class Work>
void with_peers(const PeerRoutes& routes, std::initializer_list<Tensor> own, Work work) {
  check_readable({own.begin(), own.size()});
  work(routes.access->open({own.begin(), own.size()}));
  routes.access->close();
}

// Tensors that peers write are made when they are due: [R, T, H].
Tensor slots_for(const PeerRoutes& routes, const Tensor& rows, Exec& exec) {
  return exec.empty({routes.places.dim(1), routes.places.dim(0), rows.dim(1)}, rows.dtype());
}
void send_sums(const Tensor& rows, const PeerRoutes& routes, std::span<const std::byte* const> slots,
               Exec& exec) {
  send_row_sums({.rows = rows,
                 .copies = routes.copies,
                 .slots = slots,
                 .own_rank = routes.own_rank,
                 .num_tokens = routes.places.dim(0)},
                exec);
}
Tensor added(const Tensor& slots, const PeerRoutes& routes, Exec& exec) {
  const Tensor out = exec.empty({slots.dim(1), slots.dim(2)}, slots.dtype());
  add_row_sums(slots, routes.places, out, exec);
  return out;
}

class PullRowsNode : public Node {
 public:
  PullRowsNode(ValueId x_id, ValueId probs_id, Shape choices, PeerRoutes routes)
      : x_id_(x_id), probs_id_(probs_id), choices_(choices), routes_(std::move(routes)) {}
  const char* name() const override { return "pull_rows"; }
  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_rows = tape.take_gradient(output(0)), d_column = tape.take_gradient(output(1));
    const Tensor d_probs = exec.empty(choices_, d_column.dtype());
    const Tensor slots = slots_for(routes_, d_rows, exec);
    with_peers(routes_, {slots, d_column}, [&](const auto& places) {
      send_sums(d_rows, routes_, places[0], exec);
      read_peer_elements({.sources = places[1], .map = routes_.rows_of_choices, .out = d_probs}, exec);
    });
    tape.add_gradient(x_id_, added(slots, routes_, exec));
    tape.add_gradient(probs_id_, d_probs);
  }

 private:
  ValueId x_id_, probs_id_;
  Shape choices_;
  PeerRoutes routes_;
};

class CombinePulledRowsNode : public Node {
 public:
  CombinePulledRowsNode(ValueId rows_id, PeerRoutes routes) : rows_id_(rows_id), routes_(std::move(routes)) {}
  const char* name() const override { return "combine_pulled_rows"; }
  void backward_input(Tape& tape) override {
    const Tensor d_out = tape.take_gradient(output());
    const Tensor d_rows = tape.exec().empty({routes_.copies.rows.num_to(), d_out.dim(1)}, d_out.dtype());
    with_peers(routes_, {d_out}, [&](const auto& sources) {
      spread_peer_rows({.sources = sources[0], .copies = routes_.copies, .out = d_rows}, tape.exec());
    });
    tape.add_gradient(rows_id_, d_rows);
  }

 private:
  ValueId rows_id_;
  PeerRoutes routes_;
};

}  // namespace

PulledRows pull_rows(Tape& tape, const Var& x, const Var& probs, const PullArgs& args) {
  Exec& exec = tape.exec();
  std::vector<Tensor> own = {x.data, probs.data};
  own.insert(own.end(), args.lists.begin(), args.lists.end());
  check_readable(own);
  const PeerAccess::Places places = args.access->open(own);
  PeerRoutes routes = args.find(PullArgs::Lists(places).subspan(2));
  const Tensor rows = exec.empty({routes.copies.rows.num_to(), x.data.dim(1)}, x.data.dtype());
  const Tensor column = exec.empty({rows.dim(0), 1}, probs.data.dtype());
  spread_peer_rows({.sources = places[0], .copies = routes.copies, .out = rows}, exec);
  read_peer_elements({.sources = places[1], .map = routes.choices, .out = column}, exec);
  args.access->close();
  if (!tape.is_recording()) return {{rows}, {column}, std::move(routes)};
  PullRowsNode& node = tape.record<PullRowsNode>(x.id, probs.id, probs.data.shape(), routes);
  const Var out_rows = tape.output(rows, node);
  return {out_rows, tape.output(column, node), std::move(routes)};
}

Var combine_pulled_rows(Tape& tape, const Var& rows, const PeerRoutes& routes) {
  Exec& exec = tape.exec();
  const Tensor slots = slots_for(routes, rows.data, exec);
  with_peers(routes, {slots}, [&](const auto& places) { send_sums(rows.data, routes, places[0], exec); });
  return tape.apply<CombinePulledRowsNode>(added(slots, routes, exec), rows.id, routes);
}

}  // namespace megalith
