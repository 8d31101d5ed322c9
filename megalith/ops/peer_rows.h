#pragma once
// defines: PeerRowMap, CombinePeerRowsArgs, combine_peer_rows, PeerCopies, PeerSegment,
// arrival_from_peers, WayBackArgs, way_back_from_peers, CopiesFromPeersArgs,
// copies_from_peers, CopiesAtPeersArgs, copies_at_peers

#include <span>
#include <vector>

#include "megalith/core/exec.h"
#include "megalith/ops/rank_copies.h"

namespace megalith {

// Rows that lie in the memory of several GPUs, read from where they are. On GPUs alone: all of these throw
// Error elsewhere.

/// Each of N rows is a sum of K rows that ranks hold; -1 in `peer`: no term.
struct PeerRowMap {
  Tensor peer;   // [N, K] i32: the rank
  Tensor place;  // [N, K] i32: its row

  /// For N K rows of one term each.
  PeerRowMap by_term() const { return {peer.view({-1, 1}), place.view({-1, 1})}; }
};

/// out[n] = sum over k of row place[n, k] of rank peer[n, k], k ascending, in f32 (f64 for f64):
/// the bits of combine_rows where all rows lie in one tensor. `sources` are the ranks' contiguous tensors of
/// the width and dtype of `out`.
struct CombinePeerRowsArgs {
  std::span<const std::byte* const> sources;  ///< by rank
  PeerRowMap map;
  Tensor out;  // [N, cols], contiguous
};
void combine_peer_rows(const CombinePeerRowsArgs& args, Exec& exec);

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

/// Where this rank's tokens stand among the copies that each rank got: RankCopies::places, behind `firsts` of
/// the ranks before this one.
struct CopiesAtPeersArgs {
  Tensor places;                // [T, R] i32
  std::vector<int64_t> firsts;  // [R]
};
PeerRowMap copies_at_peers(const CopiesAtPeersArgs& args, Exec& exec);

}  // namespace megalith
