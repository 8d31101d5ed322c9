#pragma once
// defines: cuda::attention, cuda::attention_backward, cuda::set_deterministic_attention

#include "megalith/kernels/cpu/attention.h"

namespace megalith::cuda {

/// See ops/attention.h; all pointers are those of device memory, dtypes f32, bf16 and f16.
/// attention_choice.h says which kernel runs.
void attention(const cpu::AttentionProblem& problem, Exec& exec);
void attention_backward(const cpu::AttentionProblem& problem, const cpu::AttentionGradients& gradients,
                        Exec& exec);
/// Of every attention_backward of `exec` from here on.
void set_deterministic_attention(bool is_deterministic, Exec& exec);

}  // namespace megalith::cuda
