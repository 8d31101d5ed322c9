#pragma once
// defines: GptConfig

#include <cstdint>
#include <string>
#include <vector>

#include "megalith/config/field.h"
#include "megalith/core/dtype.h"
#include "megalith/models/gpt/moe_config.h"
#include "megalith/ops/activation.h"
#include "megalith/ops/attention_sink.h"
#include "megalith/ops/norm.h"

namespace megalith {

/// A decoder-only transformer, GPT-2 to Llama. Names and defaults are Megatron's; a value of 0 means "derive
/// it".
struct GptConfig {
  int64_t num_layers = 0;
  int64_t hidden_size = 0;
  int64_t ffn_hidden_size = 0;
  int64_t num_attention_heads = 0;
  int64_t num_query_groups = 0;
  int64_t kv_channels = 0;
  int64_t vocab_size = 0;
  int64_t make_vocab_size_divisible_by = 128;
  int64_t max_position_embeddings = 0;

  std::string position_embedding_type = "learned_absolute";
  double rotary_base = 10000;
  double rotary_percent = 1;
  bool use_rope_scaling = false;
  double rope_scaling_factor = 8;
  double rope_low_frequency_factor = 1;
  double rope_high_frequency_factor = 4;
  double rope_original_positions = 8192;

  std::string normalization = "LayerNorm";
  double norm_epsilon = 1e-5;
  bool qk_layernorm = false;
  bool swiglu = false;
  bool squared_relu = false;
  bool add_bias_linear = true;
  bool add_qkv_bias = false;
  bool untie_embeddings_and_output_weights = false;
  double hidden_dropout = 0.1;
  double attention_dropout = 0.1;
  std::string softmax_type = "vanilla";
  std::vector<int64_t> window_size;
  std::string window_attn_skip_freq;
  double init_method_std = 0.02;
  bool bf16 = false;
  bool fp16 = false;
  MoeConfig moe;

  // What follows from the above.
  int64_t ffn_size() const;      ///< Megatron: 4 H, or int(8 H / 3 / 64) * 64 for SwiGLU
  int64_t query_groups() const;  ///< num_attention_heads unless given
  int64_t head_dim() const;      ///< hidden_size / num_attention_heads unless given
  int64_t padded_vocab_size() const;
  bool has_rope() const { return position_embedding_type == "rope"; }
  bool has_learned_positions() const { return position_embedding_type == "learned_absolute"; }
  NormKind norm_kind() const {
    return normalization == "RMSNorm" ? NormKind::kRmsNorm : NormKind::kLayerNorm;
  }
  ActivationKind activation() const;
  SoftmaxType softmax() const;
  DType dtype() const { return bf16 ? DType::kBF16 : fp16 ? DType::kF16 : DType::kF32; }
  /// Of each layer: how many tokens before a token it sees; -1: all.
  std::vector<int64_t> attention_windows() const;
  int64_t expert_ffn_size() const;  ///< ffn_size() unless given
  double output_init_std() const;   ///< init_method_std / sqrt(2 L): attention projection and fc2
};

void declare_fields(GptConfig& config, FieldList& fields);
/// Throws UsageError naming the keys, the values and the rule. A vocab_size of 0 passes: the tokenizer or
/// data set gives it later.
void validate(const GptConfig& config);

}  // namespace megalith
