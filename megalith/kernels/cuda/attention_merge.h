#pragma once
// defines: attention_merge

#include "megalith/kernels/cpu/attention_merge.h"

namespace megalith::cuda {

/// As cpu::attention_merge, on the stream of `exec`.
void attention_merge(const cpu::AttentionMergeProblem& problem, Exec& exec);

}  // namespace megalith::cuda
