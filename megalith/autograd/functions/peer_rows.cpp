#include "megalith/autograd/functions/peer_rows.h"

namespace megalith {
namespace {

void check_readable(std::span<const Tensor> own) {
  for (const Tensor& tensor : own)
    MG_CHECK(tensor.is_contiguous(), "peers read a tensor {} that is not contiguous", tensor.shape().str());
}

// work(places): those of each tensor by rank, to be read until it returns.
template <class Work>
void with_peers(const PeerRoutes& routes, std::initializer_list<Tensor> own, Work work) {
  check_readable({own.begin(), own.size()});
  work(routes.access->open({own.begin(), own.size()}).places);
  routes.access->close();
}

Tensor combined(const Tensor& sums, const PeerRoutes& routes, Exec& exec) {
  const Tensor out = exec.empty({routes.sums.peer.dim(0), sums.dim(1)}, sums.dtype());
  with_peers(routes, {sums}, [&](const auto& sources) {
    combine_peer_rows({.sources = sources[0], .map = routes.sums, .out = out}, exec);
  });
  return out;
}

class PullRowsNode : public Node {
 public:
  PullRowsNode(ValueId x_id, ValueId probs_id, PeerRoutes routes)
      : x_id_(x_id), probs_id_(probs_id), routes_(std::move(routes)) {}
  const char* name() const override { return "pull_rows"; }
  void backward_input(Tape& tape) override {
    Exec& exec = tape.exec();
    const Tensor d_copies = tape.take_gradient(output(0)), d_column = tape.take_gradient(output(1));
    const Shape choices = routes_.rows_of_choices.peer.shape();
    const Tensor d_x = exec.empty({choices[0], d_copies.dim(1)}, d_copies.dtype());
    const Tensor d_probs = exec.empty(choices, d_column.dtype());
    with_peers(routes_, {d_copies, d_column}, [&](const auto& sources) {
      combine_peer_rows({.sources = sources[0], .map = routes_.sums, .out = d_x}, exec);
      combine_peer_rows({.sources = sources[1],
                         .map = routes_.rows_of_choices.by_term(),
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
  CombinePulledRowsNode(ValueId sums_id, PeerRoutes routes) : sums_id_(sums_id), routes_(std::move(routes)) {}
  const char* name() const override { return "combine_pulled_rows"; }
  void backward_input(Tape& tape) override {
    const Tensor d_sums = tape.take_gradient(output());
    const PeerRowMap& sources_of_copies = routes_.copies.sources;
    const Tensor d_copies = tape.exec().empty({sources_of_copies.peer.dim(0), d_sums.dim(1)}, d_sums.dtype());
    with_peers(routes_, {d_sums}, [&](const auto& sources) {
      combine_peer_rows({.sources = sources[0], .map = sources_of_copies, .out = d_copies}, tape.exec());
    });
    tape.add_gradient(sums_id_, d_copies);
  }

 private:
  ValueId sums_id_;
  PeerRoutes routes_;
};

}  // namespace

PulledRows pull_rows(Tape& tape, const Var& x, const Var& probs, const PullArgs& args) {
  Exec& exec = tape.exec();
  std::vector<Tensor> own = {x.data, probs.data};
  own.insert(own.end(), args.lists.begin(), args.lists.end());
  check_readable(own);
  const PeerAccess::Opened opened = args.access->open(own, args.numbers);
  PeerRoutes routes = args.find(PullArgs::Lists(opened.places).subspan(2), opened.numbers);
  const Tensor pulled_x = exec.empty({routes.copies.sources.peer.dim(0), x.data.dim(1)}, x.data.dtype());
  const Tensor pulled_probs = exec.empty({routes.choices.peer.dim(0), 1}, probs.data.dtype());
  combine_peer_rows({.sources = opened.places[0], .map = routes.copies.sources, .out = pulled_x}, exec);
  combine_peer_rows({.sources = opened.places[1], .map = routes.choices, .out = pulled_probs}, exec);
  args.access->close();
  if (!tape.is_recording()) return {{pulled_x}, {pulled_probs}, std::move(routes)};
  PullRowsNode& node = tape.record<PullRowsNode>(x.id, probs.id, routes);
  const Var out_x = tape.output(pulled_x, node);
  return {out_x, tape.output(pulled_probs, node), std::move(routes)};
}

Var combine_pulled_rows(Tape& tape, const Var& sums, const PeerRoutes& routes) {
  return tape.apply<CombinePulledRowsNode>(combined(sums.data, routes, tape.exec()), sums.id, routes);
}

}  // namespace megalith
