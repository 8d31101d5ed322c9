#pragma once
// defines: PeerRoutes, PullArgs, PulledRows, pull_rows, combine_pulled_rows

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "megalith/autograd/tape.h"
#include "megalith/comm/peer_access.h"
#include "megalith/ops/peer_transfers.h"

namespace megalith {

/// How a group's tokens go to the ranks of their experts and the sums of their rows back: nothing is packed,
/// and a token travels to a rank once. Rows are read from the rank that has them, sums are written to the
/// rank that wants them.
struct PeerRoutes {
  std::shared_ptr<PeerAccess> access;
  PeerCopies copies;           ///< of all ranks' tokens: N copies, M rows
  Tensor places;               ///< [T, R] i32: -1 where the rank has no copy of a token of this one
  PeerRowMap choices;          ///< of the M rows: the senders' choices [T, k]
  PeerRowMap rows_of_choices;  ///< of this rank's T k choices: the owners' M rows
  int64_t own_rank = 0;
};

/// x [T, H] of each rank to the rows of this one's experts [M, H]; probs [T, k] to [M, 1]. Which these are is
/// found on the way: `find` gets where the ranks' lists lie, and gives the routes.
struct PullArgs {
  std::shared_ptr<PeerAccess> access;
  std::vector<Tensor> lists;  ///< of this rank, to be read by kernels that `find` calls
  /// Each list by rank.
  using Lists = std::span<const std::vector<const std::byte*>>;
  std::function<PeerRoutes(Lists)> find;
};
struct PulledRows {
  Var x, probs;
  PeerRoutes routes;
};
PulledRows pull_rows(Tape& tape, const Var& x, const Var& probs, const PullArgs& args);

/// rows [M, H] of each rank to the sums of this rank's tokens [T, H]: a rank sums a copy's rows, in the order
/// of its token's choices, and rounds; the owner adds, over the ranks in their order. The adjoint.
Var combine_pulled_rows(Tape& tape, const Var& rows, const PeerRoutes& routes);

}  // namespace megalith
