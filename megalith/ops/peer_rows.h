#pragma once
// defines: PeerRowMap, ReadPeerElementsArgs, read_peer_elements, PeerCopies

#include <span>

#include "megalith/core/exec.h"
#include "megalith/ops/rank_copies.h"

namespace megalith {

// Rows that lie in the memory of several GPUs, read from where they are. On GPUs alone: all of these throw
// Error elsewhere.

/// Each of N rows is one that a rank holds; -1 in `peer`: none.
struct PeerRowMap {
  Tensor peer;   // [N, 1] or any shape of N elements, i32: the rank
  Tensor place;  // of the same shape, i32: its row
};

/// out[n] = element place[n] of the tensor of rank peer[n]; zero where there is none.
struct ReadPeerElementsArgs {
  std::span<const std::byte* const> sources;  ///< by rank: contiguous, of the dtype of `out`
  const PeerRowMap& map;                      ///< of as many rows as `out` has elements, in any shape
  Tensor out;                                 // contiguous
};
void read_peer_elements(const ReadPeerElementsArgs& args, Exec& exec);

/// Copies of the tokens of all ranks that come to this one (ops/rank_copies.h), by sender and then by token,
/// and the rows of its experts that each is for.
struct PeerCopies {
  PeerRowMap sources;  // [N, 1]: of the tokens of their ranks
  RowMap rows;         // N copies to M rows
};

}  // namespace megalith
