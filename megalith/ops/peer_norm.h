#pragma once
// defines: PeerNormArgs, peer_norm

#include <span>

#include "megalith/ops/norm.h"

namespace megalith {

/// Of n GPUs that reach each other's memory, one's part in a reduce-scatter, a residual, a norm and an
/// all-gather, in one kernel: x, rows [rank T, (rank + 1) T) of the sum of all ranks' terms, is read from
/// where the terms lie, and y is written to its rows of every rank's whole, too. The bits are those of the
/// four, with sums in rank order, in f32, rounded once. On GPUs alone: throws Error elsewhere.
struct PeerNormArgs {
  NormArgs norm;                             ///< with a residual, without x
  int rank = 0;                              ///< this one's place
  std::span<const std::byte* const> terms;   ///< by rank: [n T, H], contiguous, of the dtype of the residual
  std::span<const std::byte* const> wholes;  ///< by rank: [n T, H] likewise, out
};
void peer_norm(const PeerNormArgs& args, Exec& exec);

}  // namespace megalith
