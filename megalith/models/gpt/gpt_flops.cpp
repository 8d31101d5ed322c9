#include "megalith/models/gpt/gpt_flops.h"

namespace megalith {

FlopsPerToken gpt_flops_per_token(const GptConfig& config, int64_t seq_length) {
  const auto h = static_cast<double>(config.hidden_size);
  const auto layers = static_cast<double>(config.num_layers);
  const auto vocab = static_cast<double>(config.padded_vocab_size());
  const auto seq = static_cast<double>(seq_length);
  const auto q = static_cast<double>(config.head_dim() * config.num_attention_heads);
  const auto kv = static_cast<double>(config.head_dim() * config.query_groups());
  const double mlp = h * static_cast<double>(config.ffn_size()) * (config.swiglu ? 3 : 2);
  const double projections = h * (q + 2 * kv) + q * h;
  const double dense = 6 * ((mlp + projections) * layers + h * vocab);
  return {.megatron = dense + 6 * q * seq * layers, .true_work = dense + 6 * q * (seq + 1) * layers};
}

GptParameterCount count_gpt_parameters(const GptConfig& config) {
  const int64_t h = config.hidden_size, layers = config.num_layers, f = config.ffn_size();
  const int64_t q = config.head_dim() * config.num_attention_heads,
                kv = config.head_dim() * config.query_groups();
  const int64_t fc1_rows = is_gated(config.activation()) ? 2 * f : f;
  const int64_t norm = config.norm_kind() == NormKind::kLayerNorm ? 2 * h : h;
  const bool has_qkv_bias = config.add_bias_linear || config.add_qkv_bias;
  GptParameterCount count;
  count.embedding = config.padded_vocab_size() * h +
                    (config.has_learned_positions() ? config.max_position_embeddings * h : 0);
  count.attention = layers * (h * (q + 2 * kv) + q * h + (has_qkv_bias ? q + 2 * kv : 0) +
                              (config.add_bias_linear ? h : 0));
  count.mlp = layers * (h * fc1_rows + f * h + (config.add_bias_linear ? fc1_rows + h : 0));
  count.norms = (2 * layers + 1) * norm;
  count.output = config.untie_embeddings_and_output_weights ? config.padded_vocab_size() * h : 0;
  return count;
}

}  // namespace megalith
