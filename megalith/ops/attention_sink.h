#pragma once
// defines: SoftmaxType, AttentionSinkArgs, attention_sink, AttentionSinkBackwardArgs, attention_sink_backward

#include "megalith/core/exec.h"

namespace megalith {

/// Over what attention normalises its weights. Megatron's softmax_type.
enum class SoftmaxType {
  kVanilla,   ///< the keys
  kOffByOne,  ///< and one more of score 0 and value 0 (Miller 2023)
  kLearnable  ///< and one more of value 0, whose score each head learns (Agarwal et al. 2025, gpt-oss)
};

/// Joins one more key of score s_h and value 0 into finished attention, in place: with
/// m = log(exp(lse) + exp(s_h)), out = exp(lse - m) out, lse = m. attention_backward (ops/attention.h), given
/// these, makes the gradients of q, k and v with the sink. A query that saw no key keeps out 0 and has lse
/// s_h.
struct AttentionSinkArgs {
  Tensor sink;  // [N] as out, contiguous; undefined: 0
  Tensor out;   // [B, S, N, D] f64, f32, bf16 or f16, heads contiguous, else strided
  Tensor lse;   // [B, N, S] f32 (f64 for f64), contiguous
};
void attention_sink(const AttentionSinkArgs& args, Exec& exec);

/// d_s_h (+)= - sum over b, s of exp(s_h - lse) (d_out . out), from the out and the lse that attention_sink
/// left. The order of the sums depends on the sizes alone.
struct AttentionSinkBackwardArgs {
  AttentionSinkArgs forward;
  Tensor d_out;   // as out
  Tensor d_sink;  // [N] as lse or bf16 for bf16 (rounded once), contiguous
  bool accumulate = false;
};
void attention_sink_backward(const AttentionSinkBackwardArgs& args, Exec& exec);

}  // namespace megalith
