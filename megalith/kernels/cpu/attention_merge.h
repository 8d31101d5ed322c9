#pragma once
// defines: AttentionMergeProblem, attention_merge

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// Strides of `part` in elements; the others are contiguous: out [B, S, N, D], lse and part_lse [B, N, S].
struct AttentionMergeProblem {
  DType dtype;  // of part
  int64_t batch, seq, heads, dim;
  const void* part;
  int64_t part_batch_stride, part_seq_stride, part_head_stride;
  const void* part_lse;
  void* out;
  void* lse;
};
void attention_merge(const AttentionMergeProblem& problem, Exec& exec);

}  // namespace megalith::cpu
