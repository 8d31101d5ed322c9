#pragma once
// defines: PeerNormArgs, peer_norm

#include "megalith/kernels/cpu/norm.h"
#include "megalith/kernels/cuda/peer_rows.h"

namespace megalith::cuda {

/// norm() of rows whose x is the sum, in rank order and rounded once, of row first_row + row of the terms of
/// all ranks; y goes to that row of every rank's whole, too. Terms and wholes have `cols` columns and no gaps
/// and lie on GPUs that this one reaches. norm.x is not read.
struct PeerNormArgs {
  cpu::NormArgs norm;
  int num_ranks = 0;
  int64_t first_row = 0;
  const void* terms[kMaxPeers] = {};
  void* wholes[kMaxPeers] = {};
};
void peer_norm(const PeerNormArgs& args, Exec& exec);

}  // namespace megalith::cuda
