#pragma once
// defines: SequenceOrder

#include "megalith/parallel/context/zigzag.h"

namespace megalith {

/// How the tokens of some ranks follow each other in the sequence: by the zigzag, or packed documents row by
/// row.
struct SequenceOrder {
  Zigzag zigzag;
  /// Of packed rows: i32 [n B S / n], for each token of the sequences the row among the ranks' tokens in rank
  /// order, and the inverse; else undefined.
  Tensor to_sequence_rows, to_rank_rows;

  /// [n, B, S / n, ...] in rank order <-> [B, S, ...] in the order of the sequence; new tensors.
  Tensor to_sequence(const Tensor& by_rank, Exec& exec) const;
  Tensor to_ranks(const Tensor& sequence, Exec& exec) const;
};

}  // namespace megalith
