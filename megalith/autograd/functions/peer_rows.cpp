#include "megalith/autograd/functions/peer_rows.h"

namespace megalith {
namespace {

void check_readable(std::initializer_list<Tensor> own) {
  for (const Tensor& tensor : own)
    MG_CHECK(tensor.is_contiguous(), "peers read a tensor {} that is not contiguous", tensor.shape().str());
}

// work(places): those of each tensor by rank, to be read until it returns.
template <class Work>
void with_peers(const PeerRoutes& routes, std::initializer_list<Tensor> own, Work work) {
  check_readable(own);
  work(routes.access->open({own.begin(), own.size()}).places);
  routes.access->close();
}

Tensor combined(const Tensor& y, const PeerRoutes& routes, Exec& exec) {
  const Tensor sums = exec.empty({routes.way_back.peer.dim(0), y.dim(1)}, y.dtype());
  with_peers(routes, {y}, [&](const auto& sources) {
    combine_peer_rows({.sources = sources[0], .map = routes.way_back, .out = sums}, exec);
  });
  return sums;
}

class PullRowsNode : public Node {
 public:
  PullRowsNode(ValueId x_id, ValueId probs_id, PeerRoutes routes)
      : x_id_(x_id), probs_id_(probs_id), routes_(std::move(routes)) {}
  const char* name() const override { return "pull_rows"; }
  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_rows = tape.take_gradient(output(0)), d_column = tape.take_gradient(output(1));
    const Shape choices = routes_.way_back.peer.shape();
    const Tensor d_x = exec.empty({choices[0], d_rows.dim(1)}, d_rows.dtype());
    const Tensor d_probs = exec.empty(choices, d_column.dtype());
    with_peers(routes_, {d_rows, d_column}, [&](const auto& sources) {
      combine_peer_rows({.sources = sources[0], .map = routes_.way_back, .out = d_x}, exec);
      combine_peer_rows({.sources = sources[1],
                         .map = routes_.way_back.by_term(),
                         .out = d_probs.view({d_probs.numel(), 1})},
                        exec);
    });
    tape.add_gradient(x_id_, d_x);
    tape.add_gradient(probs_id_, d_probs);
  }

 private:
  ValueId x_id_, probs_id_;
  PeerRoutes routes_;
};

class CombinePulledRowsNode : public Node {
 public:
  CombinePulledRowsNode(ValueId y_id, PeerRoutes routes) : y_id_(y_id), routes_(std::move(routes)) {}
  const char* name() const override { return "combine_pulled_rows"; }
  void backward_input(Tape& tape) override {
    const Tensor d_sums = tape.take_gradient(output());
    const Tensor d_y = tape.exec().empty({routes_.arrival.peer.dim(0), d_sums.dim(1)}, d_sums.dtype());
    with_peers(routes_, {d_sums}, [&](const auto& sources) {
      combine_peer_rows({.sources = sources[0], .map = routes_.arrival, .divisor = routes_.topk, .out = d_y},
                        tape.exec());
    });
    tape.add_gradient(y_id_, d_y);
  }

 private:
  ValueId y_id_;
  PeerRoutes routes_;
};

}  // namespace

PulledRows pull_rows(Tape& tape, const Var& x, const Var& probs, const PullArgs& args) {
  Exec& exec = tape.exec();
  check_readable({x.data, probs.data, args.list});
  const Tensor own[] = {x.data, probs.data, args.list};
  const PeerAccess::Opened opened = args.access->open(own, args.numbers);
  PeerRoutes routes = args.find(opened.places[2], opened.numbers);
  const int64_t rows = routes.arrival.peer.dim(0);
  const Tensor pulled_x = exec.empty({rows, x.data.dim(1)}, x.data.dtype());
  const Tensor pulled_probs = exec.empty({rows, 1}, probs.data.dtype());
  combine_peer_rows(
      {.sources = opened.places[0], .map = routes.arrival, .divisor = routes.topk, .out = pulled_x}, exec);
  combine_peer_rows({.sources = opened.places[1], .map = routes.arrival, .out = pulled_probs}, exec);
  args.access->close();
  if (!tape.is_recording()) return {{pulled_x}, {pulled_probs}, std::move(routes)};
  PullRowsNode& node = tape.record<PullRowsNode>(x.id, probs.id, routes);
  const Var out_x = tape.output(pulled_x, node);
  return {out_x, tape.output(pulled_probs, node), std::move(routes)};
}

Var combine_pulled_rows(Tape& tape, const Var& y, const PeerRoutes& routes) {
  return tape.apply<CombinePulledRowsNode>(combined(y.data, routes, tape.exec()), y.id, routes);
}

}  // namespace megalith
