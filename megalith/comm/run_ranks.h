#pragma once
// defines: RankOptions, run_ranks

#include <chrono>
#include <functional>

#include "megalith/comm/communicator.h"

namespace megalith {

struct RankOptions {
  int num_ranks = 1;
  /// How long a rank waits in an operation for its peers before all of them fail; zero: for ever.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
};

/// Runs `body` in num_ranks new threads, each with its communicator of the group "world", and returns when
/// all are done. What the first rank to fail threw is thrown here again; the PeerFailures that follow from it
/// are not. A rank that returns while another waits for it makes that one fail. abort() without an exception
/// ends here in an Error with its reason.
void run_ranks(const RankOptions& options, const std::function<void(Communicator&)>& body);

inline void run_ranks(int num_ranks, const std::function<void(Communicator&)>& body) {
  run_ranks(RankOptions{.num_ranks = num_ranks}, body);
}

}  // namespace megalith
