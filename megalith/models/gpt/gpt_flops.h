#pragma once
// defines: mean_visible_keys, gpt_flops_per_token, GptParameterCount, count_gpt_parameters

#include "megalith/models/gpt/gpt_config.h"
#include "megalith/models/language_model.h"

namespace megalith {

/// How many keys a causal query sees on average in a sequence of `seq` tokens, when it sees `window` tokens
/// before its own (-1: all).
double mean_visible_keys(int64_t seq, int64_t window);

/// Forward and backward (three times the forward).
/// megatron: F = 6 h [ffn f L_dense + (moe_ffn k + shared) f L_moe] + 6 [h (q + k + v) + q h] L + 6 q S L + 6
/// h V per token, f = 3 for SwiGLU else 2, V padded (megatron/training/training.py, transformer case).
/// true_work: 2 FLOPs for every multiply-add of the matrix products that are run, those of routers too, a
/// causal query seeing the keys of mean_visible_keys(), (S + 1) / 2 without a window.
FlopsPerToken gpt_flops_per_token(const GptConfig& config, int64_t seq_length);

struct GptParameterCount {
  int64_t embedding = 0;
  int64_t attention = 0;
  int64_t mlp = 0;  ///< dense ones and shared experts
  int64_t routers = 0;
  int64_t experts = 0;         ///< all of them
  int64_t active_experts = 0;  ///< those that a token passes
  int64_t norms = 0;
  int64_t output = 0;  ///< 0 when tied
  int64_t total() const { return embedding + attention + mlp + routers + experts + norms + output; }
  int64_t active() const { return total() - experts + active_experts; }
};
GptParameterCount count_gpt_parameters(const GptConfig& config);

}  // namespace megalith
