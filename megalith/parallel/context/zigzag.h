#pragma once
// defines: Zigzag

#include "megalith/core/exec.h"

namespace megalith {

/// How context-parallel ranks share a sequence: in 2 n equal chunks, of which rank r has the chunks r and
/// 2 n - 1 - r, so that every rank has as much causal attention to do as any other (zigzag ring attention;
/// load balancing of Llama 3, Dubey et al. 2024, section 3.3.2, and of Megatron).
struct Zigzag {
  int ranks = 1;
  int64_t seq = 0;  ///< S, a multiple of 2 n

  int64_t chunk() const { return seq / (2 * ranks); }
  int64_t local_seq() const { return seq / ranks; }
  /// Of the rank's first or second half.
  int chunk_of(int rank, int half) const { return half == 0 ? rank : 2 * ranks - 1 - rank; }
  /// Place in the sequence of a rank's local token.
  int64_t position(int rank, int64_t local) const {
    return chunk_of(rank, static_cast<int>(local / chunk())) * chunk() + local % chunk();
  }

  /// [n, B, S / n, ...] in rank order <-> [B, S, ...] in the order of the sequence; new tensors.
  Tensor to_sequence(const Tensor& by_rank, Exec& exec) const;
  Tensor to_ranks(const Tensor& sequence, Exec& exec) const;
};

}  // namespace megalith
