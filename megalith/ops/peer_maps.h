#pragma once
// defines: PeerMapsArgs, PeerMaps, maps_from_peers

#include <span>

#include "megalith/ops/peer_rows.h"

namespace megalith {

/// How tokens go between ranks that read each other's memory. Every rank has sorted its choices by expert
/// (ops/expert_order.h) and made lists of copies for the ranks (ops/rank_copies.h), as many tokens each;
/// expert e is held by rank e / (E / R). The copies that come to a rank stand by sender, then by token; its
/// rows by expert, then by sender, then by token.
///
/// With max_rows there is room for that many rows and max_copies copies: those behind them, in this order,
/// come not, and where a row or its copy has no room the choice counts for nothing. The maps are then made
/// without a wait of the host. Without, it waits for the GPU once, to learn how many there are; sizes are
/// rounded up by at most a sixteenth, so that few come again and again and their memory can be used again.
///
/// On GPUs alone; throws Error elsewhere.
struct PeerMapsArgs {
  using ByRank = std::span<const std::byte* const>;  ///< i32, in the memory of each of R ranks
  ByRank offsets;                                    // [E + 1] each: ExpertOrder::offsets of all experts
  ByRank choices;                                    // [T k]: ExpertOrder::choices.from, or fewer
  ByRank tokens, places, counts;                     // RankCopies
  Tensor experts;                                    // [T, k] i32, of this rank
  Tensor rows;                                       // [T, k] i32: its ExpertOrder::tokens.to
  int64_t own_rank = 0, num_experts = 1;
  int64_t max_rows = 0, max_copies = 0;
  Tensor dropped;  // [1] f64 or undefined: grows by the choices that find no room here
};
struct PeerMaps {
  Tensor offsets;              // [E / R + 1] i32: the rows of each of this rank's experts
  PeerCopies copies;           ///< N copies of all ranks' tokens, M rows
  Tensor places;               // [T, R] i32: -1 where the rank has no copy of a token of this one
  PeerRowMap choices;          ///< [M, 1]: of the senders' choices [T, k]
  PeerRowMap rows_of_choices;  ///< [T, k]: of the owners' M rows
};
/// All ranks call it with the same sizes.
PeerMaps maps_from_peers(const PeerMapsArgs& args, Exec& exec);

}  // namespace megalith
