#pragma once
// defines: PeerRoutes, PullArgs, PulledRows, pull_rows, combine_pulled_rows

#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "megalith/autograd/tape.h"
#include "megalith/comm/peer_access.h"
#include "megalith/ops/peer_rows.h"

namespace megalith {

/// How a group's tokens go to the ranks of their experts and the sums of their rows back, read from the
/// memory of the rank that has them: nothing is packed, and a token travels to a rank once.
struct PeerRoutes {
  std::shared_ptr<PeerAccess> access;
  PeerCopies copies;           ///< of all ranks' tokens: N copies, M rows
  PeerRowMap sums;             ///< [T, R]: of the owners' N sums
  PeerRowMap choices;          ///< [M, 1]: of the senders' choices [T, k]
  PeerRowMap rows_of_choices;  ///< [T, k]: of the owners' M rows
};

/// x [T, H] of each rank to the copies that come to this one [N, H]; probs [T, k] to the rows of its experts
/// [M, 1]. Which these are is found on the way: `find` gets what the ranks' lists and numbers are, and gives
/// the routes.
struct PullArgs {
  std::shared_ptr<PeerAccess> access;
  std::vector<Tensor> lists;     ///< of this rank, to be read by kernels that `find` calls
  std::vector<int64_t> numbers;  ///< of this rank, for the hosts of all
  /// Each list by rank.
  using Lists = std::span<const std::vector<const std::byte*>>;
  /// find(lists, numbers of all ranks in rank order).
  std::function<PeerRoutes(Lists, const std::vector<int64_t>&)> find;
};
struct PulledRows {
  Var x, probs;
  PeerRoutes routes;
};
PulledRows pull_rows(Tape& tape, const Var& x, const Var& probs, const PullArgs& args);

/// sums [N, H] of each rank, of its copies' rows, to the sums of this rank's tokens [T, H], over the ranks in
/// their order: the adjoint.
Var combine_pulled_rows(Tape& tape, const Var& sums, const PeerRoutes& routes);

}  // namespace megalith
