#pragma once
// defines: letters_model

#include "megalith/models/gpt/gpt_config.h"

namespace megalith::testing {

/// A small model of the tokens of tests/infer/letters.h.
inline GptConfig letters_model(int64_t head_dim) {
  GptConfig c;
  c.num_layers = 3;
  c.hidden_size = 64;
  c.num_attention_heads = 4;
  c.kv_channels = head_dim;
  c.num_query_groups = 2;
  c.vocab_size = 26;
  c.make_vocab_size_divisible_by = 16;
  c.max_position_embeddings = 300;
  c.position_embedding_type = "rope";
  c.normalization = "RMSNorm";
  c.swiglu = true;
  c.add_bias_linear = false;
  c.init_method_std = 0.4;  // far from uniform, so that the largest logit is clear
  return c;
}

}  // namespace megalith::testing
