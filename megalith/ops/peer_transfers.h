#pragma once
// defines: SpreadPeerRowsArgs, spread_peer_rows, SendRowSumsArgs, send_row_sums, add_row_sums

#include <span>

#include "megalith/ops/peer_rows.h"

namespace megalith {

// The two ways of rows between ranks that reach each other's memory. On GPUs alone: all of these throw Error
// elsewhere.

/// out[m] = the row of the copy that row m is made of, read from the rank that has it; zeros where there is
/// none. A copy is read once, however many rows are made of it. `sources` are the ranks' contiguous tensors
/// of the width and dtype of `out`.
struct SpreadPeerRowsArgs {
  std::span<const std::byte* const> sources;  ///< by rank
  const PeerCopies& copies;
  Tensor out;  // [M, cols], contiguous
};
void spread_peer_rows(const SpreadPeerRowsArgs& args, Exec& exec);

/// The sum of each copy's rows, in the order of its token's choices, in f32 (f64 for f64), is written at the
/// token's owner: slots[own_rank, token] there. With add_row_sums() the adjoint of spread_peer_rows().
struct SendRowSumsArgs {
  Tensor rows;  // [M, cols], contiguous
  const PeerCopies& copies;
  std::span<const std::byte* const> slots;  ///< by rank: [R, num_tokens, cols] each, written
  int64_t own_rank = 0, num_tokens = 0;
};
void send_row_sums(const SendRowSumsArgs& args, Exec& exec);

/// out[t] = sum over r of slots[r, t], r ascending, in f32 (f64 for f64), over the ranks that have a copy of
/// token t: those whose place is not -1 (RankCopies::places). slots [R, T, cols], places [T, R] i32 -> out
/// [T, cols]; all contiguous.
void add_row_sums(const Tensor& slots, const Tensor& places, const Tensor& out, Exec& exec);

}  // namespace megalith
