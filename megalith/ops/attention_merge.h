#pragma once
// defines: AttentionMergeArgs, attention_merge

#include "megalith/core/exec.h"

namespace megalith {

/// Joins the attention of the same queries to another set of keys into what is there (Liu et al. 2023, ring
/// attention; the rescaling of FlashAttention-2): with m = log(exp(lse) + exp(part_lse)),
/// out = exp(lse - m) out + exp(part_lse - m) part, lse = m.
struct AttentionMergeArgs {
  Tensor part;      // [B, S, N, D] f64, f32 or bf16, heads contiguous, else strided
  Tensor part_lse;  // [B, N, S] f32 (f64 for f64), contiguous
  Tensor out;       // [B, S, N, D] f32 (f64 for f64), contiguous
  Tensor lse;       // as part_lse
};
void attention_merge(const AttentionMergeArgs& args, Exec& exec);

}  // namespace megalith
