#include "megalith/models/gpt/gpt_flops.h"

#include <algorithm>

namespace megalith {

namespace {

int64_t num_expert_layers(const GptConfig& config) {
  const std::vector<bool> layers = config.moe.expert_layers(config.num_layers);
  return std::count(layers.begin(), layers.end(), true);
}

// Weights of an MLP of this width.
int64_t mlp_weights(const GptConfig& config, int64_t width) {
  return config.hidden_size * width * (is_gated(config.activation()) ? 3 : 2);
}

}  // namespace

double mean_visible_keys(int64_t seq, int64_t window) {
  const auto all = static_cast<double>(seq);
  if (window < 0 || window + 1 >= seq) return (all + 1) / 2;
  const auto most = static_cast<double>(window + 1);  // of every query but the first ones
  return most - most * (most - 1) / 2 / all;
}

FlopsPerToken gpt_flops_per_token(const GptConfig& config, int64_t seq_length) {
  const auto h = static_cast<double>(config.hidden_size);
  const auto layers = static_cast<double>(config.num_layers);
  const auto vocab = static_cast<double>(config.padded_vocab_size());
  const auto seq = static_cast<double>(seq_length);
  const auto q = static_cast<double>(config.head_dim() * config.num_attention_heads);
  const auto kv = static_cast<double>(config.head_dim() * config.query_groups());
  const int64_t moe_layers = num_expert_layers(config);
  const int64_t expert_width = config.moe.router_topk * config.expert_ffn_size();
  const auto mlp = static_cast<double>(
      (config.num_layers - moe_layers) * mlp_weights(config, config.ffn_size()) +
      moe_layers * mlp_weights(config, expert_width + config.moe.shared_expert_intermediate_size));
  const double routers = h * static_cast<double>(config.moe.num_experts * moe_layers);
  const double projections = h * (q + 2 * kv) + q * h;
  double keys = 0;  // that a token sees in all layers
  for (const int64_t window : config.attention_windows()) keys += mean_visible_keys(seq_length, window);
  const double dense = 6 * (mlp + projections * layers + h * vocab);
  return {.megatron = dense + 6 * q * seq * layers, .true_work = dense + 6 * routers + 12 * q * keys};
}

GptParameterCount count_gpt_parameters(const GptConfig& config) {
  const int64_t h = config.hidden_size, layers = config.num_layers, f = config.ffn_size();
  const int64_t q = config.head_dim() * config.num_attention_heads,
                kv = config.head_dim() * config.query_groups();
  const int64_t fc1_rows = is_gated(config.activation()) ? 2 * f : f;
  const int64_t moe_layers = num_expert_layers(config), dense_layers = layers - moe_layers;
  const int64_t norm = config.norm_kind() == NormKind::kLayerNorm ? 2 * h : h;
  const bool has_qkv_bias = config.add_bias_linear || config.add_qkv_bias;
  const int64_t num_sinks = config.softmax() == SoftmaxType::kLearnable ? config.num_attention_heads : 0;
  GptParameterCount count;
  count.embedding = config.padded_vocab_size() * h +
                    (config.has_learned_positions() ? config.max_position_embeddings * h : 0);
  count.attention = layers * (h * (q + 2 * kv) + q * h + (has_qkv_bias ? q + 2 * kv : 0) +
                              (config.add_bias_linear ? h : 0) + num_sinks);
  count.mlp = dense_layers * (mlp_weights(config, f) + (config.add_bias_linear ? fc1_rows + h : 0)) +
              moe_layers * mlp_weights(config, config.moe.shared_expert_intermediate_size);
  const int64_t expert = mlp_weights(config, config.expert_ffn_size());
  count.routers = moe_layers * config.moe.num_experts * h;
  count.experts = moe_layers * config.moe.num_experts * expert;
  count.active_experts = moe_layers * config.moe.router_topk * expert;
  const int64_t head_norms = config.qk_layernorm ? 2 * norm / h * config.head_dim() : 0;
  count.norms = (2 * layers + 1) * norm + layers * head_norms;
  count.output = config.untie_embeddings_and_output_weights ? config.padded_vocab_size() * h : 0;
  return count;
}

}  // namespace megalith
