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

/// How the rows of a group's tokens go to the ranks of their experts and back, read from the memory of the
/// rank that has them: nothing is packed, and nothing travels twice.
struct PeerRoutes {
  std::shared_ptr<PeerAccess> access;
  PeerRowMap arrival;   ///< [M, 1]: of the sender's choices [T, k]
  PeerRowMap way_back;  ///< [T, k]: of the owners' M rows
  int64_t topk = 1;
};

/// x [T, H] and probs [T, k] of each rank to the rows of this rank's experts: x [M, H], probs [M, 1]. Which
/// rows these are is found on the way: `find` gets what the ranks' lists and numbers are, and gives the
/// routes.
struct PullArgs {
  std::shared_ptr<PeerAccess> access;
  Tensor list;                   ///< of this rank, to be read by kernels that `find` calls
  std::vector<int64_t> numbers;  ///< of this rank, for the hosts of all
  /// find(lists by rank, numbers of all ranks in rank order).
  std::function<PeerRoutes(std::span<const std::byte* const>, const std::vector<int64_t>&)> find;
};
struct PulledRows {
  Var x, probs;
  PeerRoutes routes;
};
PulledRows pull_rows(Tape& tape, const Var& x, const Var& probs, const PullArgs& args);

/// y [M, H] of each rank to the sums of this rank's tokens [T, H]: the adjoint.
Var combine_pulled_rows(Tape& tape, const Var& y, const PeerRoutes& routes);

}  // namespace megalith
