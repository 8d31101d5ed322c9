#pragma once
// defines: PeerRowMap, ReadPeerElementsArgs, read_peer_elements, PeerCopies, PeerSegment, arrival_from_peers,
// WayBackArgs, way_back_from_peers, CopiesFromPeersArgs, copies_from_peers

#include <span>
#include <vector>

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
/// Rows that follow each other at a sender and here.
struct PeerSegment {
  int64_t sender = 0, first_row = 0, length = 0;
};
/// The rows of all segments, one behind the other, and none in what is left of `num_rows`: place is what the
/// sender's list, of i32, says of its row.
PeerRowMap arrival_from_peers(const std::vector<PeerSegment>& segments, int64_t num_rows,
                              std::span<const std::byte* const> lists, Exec& exec);

/// Choice i of expert e, which row rows[i] of this rank's is for, lies at its owner, rank e /
/// experts_of_rank, in row rows[i] + shifts[e].
struct WayBackArgs {
  Tensor experts;               // [T, k] i32
  Tensor rows;                  // [T, k] i32; -1: none
  std::vector<int64_t> shifts;  // [E]
  int64_t experts_of_rank = 1;
};
PeerRowMap way_back_from_peers(const WayBackArgs& args, Exec& exec);

/// `tokens` and `places` are those of RankCopies of each sender, made with as many tokens each. `counts`
/// copies come from each; none stands in what is left of `num_copies`. A copy's rows stand in the map in the
/// order of its token's choices.
struct CopiesFromPeersArgs {
  std::span<const std::byte*const> tokens, places;  ///< by rank
  PeerRowMap arrival;                               // [M, 1]: of the senders' choices
  std::vector<int64_t> counts;
  int64_t own_rank = 0, num_tokens = 0, topk = 1, num_copies = 0;
};
PeerCopies copies_from_peers(const CopiesFromPeersArgs& args, Exec& exec);

}  // namespace megalith
