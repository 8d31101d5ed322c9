#pragma once
// defines: PeerRowMap, CombinePeerRowsArgs, combine_peer_rows, PeerSegment, arrival_from_peers, WayBackArgs,
// way_back_from_peers

#include <span>
#include <vector>

#include "megalith/core/exec.h"

namespace megalith {

// Rows that lie in the memory of several GPUs, read from where they are. On GPUs alone: all of these throw
// Error elsewhere.

/// Each of N rows is a sum of K rows that ranks hold; -1 in `peer`: no term.
struct PeerRowMap {
  Tensor peer;   // [N, K] i32: the rank
  Tensor place;  // [N, K] i32: its row, times CombinePeerRowsArgs::divisor

  /// For N K rows of one term each.
  PeerRowMap by_term() const { return {peer.view({-1, 1}), place.view({-1, 1})}; }
};

/// out[n] = sum over k of row place[n, k] / divisor of rank peer[n, k], k ascending, in f32 (f64 for f64):
/// the bits of combine_rows where all rows lie in one tensor. `sources` are the ranks' contiguous tensors of
/// the width and dtype of `out`.
struct CombinePeerRowsArgs {
  std::span<const std::byte* const> sources;  ///< by rank
  PeerRowMap map;
  int64_t divisor = 1;
  Tensor out;  // [N, cols], contiguous
};
void combine_peer_rows(const CombinePeerRowsArgs& args, Exec& exec);

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

}  // namespace megalith
