#pragma once
// defines: cpu::sample_token

#include <span>

#include "megalith/kernels/sampling.h"

namespace megalith::cpu {

/// One row of ops/sample_tokens.h, not greedy.
int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, uint32_t random_word);

}  // namespace megalith::cpu
