#include "megalith/models/gpt/gpt_config.h"

#include <cmath>

#include "megalith/base/math.h"
#include "megalith/models/gpt/layer_pattern.h"

namespace megalith {

int64_t GptConfig::ffn_size() const {
  if (ffn_hidden_size > 0) return ffn_hidden_size;
  return swiglu ? hidden_size * 8 / 3 / 64 * 64 : 4 * hidden_size;
}

int64_t GptConfig::query_groups() const {
  return num_query_groups > 0 ? num_query_groups : num_attention_heads;
}

int64_t GptConfig::head_dim() const {
  return kv_channels > 0 ? kv_channels : hidden_size / num_attention_heads;
}

int64_t GptConfig::padded_vocab_size() const {
  return round_up(vocab_size, make_vocab_size_divisible_by);
}

ActivationKind GptConfig::activation() const {
  if (swiglu) return ActivationKind::kSwiglu;
  return squared_relu ? ActivationKind::kSquaredRelu : ActivationKind::kGelu;
}

SoftmaxType GptConfig::softmax() const {
  if (softmax_type == "learnable") return SoftmaxType::kLearnable;
  return softmax_type == "off-by-one" ? SoftmaxType::kOffByOne : SoftmaxType::kVanilla;
}

std::vector<int64_t> GptConfig::attention_windows() const {
  std::vector<int64_t> windows(static_cast<size_t>(num_layers), window_size.empty() ? -1 : window_size[0]);
  if (window_attn_skip_freq.empty()) return windows;
  const std::string& text = window_attn_skip_freq;
  if (text.find_first_not_of("0123456789") == std::string::npos) {
    // Every N-th layer from the N-th sees all; the parser counts from the first.
    std::vector<bool> sees_all = parse_layer_pattern("window_attn_skip_freq", text, num_layers + 1);
    for (size_t layer = 0; layer < windows.size(); ++layer)
      if (sees_all[layer + 1]) windows[layer] = -1;
    return windows;
  }
  const std::vector<bool> has_window = parse_layer_pattern("window_attn_skip_freq", text, num_layers);
  for (size_t layer = 0; layer < windows.size(); ++layer)
    if (!has_window[layer]) windows[layer] = -1;
  return windows;
}

int64_t GptConfig::expert_ffn_size() const {
  return moe.ffn_hidden_size > 0 ? moe.ffn_hidden_size : ffn_size();
}

double GptConfig::output_init_std() const {
  return init_method_std / std::sqrt(2.0 * static_cast<double>(num_layers));
}

void declare_fields(GptConfig& c, FieldList& f) {
  f.add("num_layers", c.num_layers,
        {.help = "transformer layers", .min = 1, .max = 65536, .main = true, .required = true});
  f.add("hidden_size", c.hidden_size,
        {.help = "width of the residual stream", .min = 1, .max = 1 << 20, .main = true, .required = true});
  f.add("num_attention_heads", c.num_attention_heads,
        {.help = "query heads", .min = 1, .max = 1 << 20, .main = true, .required = true});
  f.add("num_query_groups", c.num_query_groups,
        {.help = "key/value heads; 0: one for each query head", .min = 0, .max = 1 << 20});
  f.add("ffn_hidden_size", c.ffn_hidden_size,
        {.help = "width of the MLP; 0: 4 x hidden_size, or 8/3 of it in steps of 64 with swiglu",
         .min = 0,
         .max = 1 << 24});
  f.add("kv_channels", c.kv_channels,
        {.help = "dimensions of a head; 0: hidden_size / num_attention_heads", .min = 0, .max = 1 << 20});
  f.add("vocab_size", c.vocab_size, {.help = "tokens; 0: what the tokenizer has", .min = 0, .max = 1 << 30});
  f.add("make_vocab_size_divisible_by", c.make_vocab_size_divisible_by,
        {.help = "the embedding is padded to a multiple of this", .min = 1, .max = 1 << 24});
  f.add("max_position_embeddings", c.max_position_embeddings,
        {.help = "longest sequence; 0: seq_length", .min = 0, .max = 1 << 30});
  f.add("position_embedding_type", c.position_embedding_type,
        {.help = "how positions enter", .allowed = {"learned_absolute", "rope", "none"}});
  f.add("rotary_base", c.rotary_base, {.help = "base of the rotary frequencies", .above = 1});
  f.add("rotary_percent", c.rotary_percent,
        {.help = "share of a head's dimensions that turns", .above = 0, .max = 1});
  f.add("use_rope_scaling", c.use_rope_scaling, {.help = "Llama 3's scaling of the rotary frequencies"});
  f.add("rope_scaling_factor", c.rope_scaling_factor, {.help = "Llama 3 scaling: factor", .above = 0});
  f.add("rope_low_frequency_factor", c.rope_low_frequency_factor,
        {.help = "Llama 3 scaling: low_freq_factor", .above = 0});
  f.add("rope_high_frequency_factor", c.rope_high_frequency_factor,
        {.help = "Llama 3 scaling: high_freq_factor", .above = 0});
  f.add("rope_original_positions", c.rope_original_positions,
        {.help = "Llama 3 scaling: context of the first training", .above = 0});
  f.add("normalization", c.normalization,
        {.help = "norm before each block", .allowed = {"LayerNorm", "RMSNorm"}});
  f.add("norm_epsilon", c.norm_epsilon, {.help = "added to the variance", .above = 0});
  f.add("qk_layernorm", c.qk_layernorm, {.help = "normalise each head of queries and keys"});
  f.add("swiglu", c.swiglu, {.help = "gated MLP: silu(gate) * linear"});
  f.add("squared_relu", c.squared_relu, {.help = "MLP activation relu(x)^2 in place of GELU"});
  f.add("add_bias_linear", c.add_bias_linear,
        {.help = "biases in all linear layers", .aliases = {{"disable_bias_linear", "false"}}});
  f.add("add_qkv_bias", c.add_qkv_bias, {.help = "a bias in the QKV projection alone"});
  f.add("untie_embeddings_and_output_weights", c.untie_embeddings_and_output_weights,
        {.help = "the output head has weights of its own"});
  f.add("hidden_dropout", c.hidden_dropout,
        {.help = "dropout after attention and MLP", .min = 0, .below = 1});
  f.add("attention_dropout", c.attention_dropout,
        {.help = "dropout on attention weights", .min = 0, .below = 1});
  f.add("softmax_type", c.softmax_type,
        {.help = "sink beside the keys of attention: none, of score 0, or of a learned score for each head",
         .allowed = {"vanilla", "off-by-one", "learnable"}});
  f.add("window_size", c.window_size,
        {.help =
             "sliding-window attention: tokens before and after a token that it sees, as [4096, 0]; -1: all",
         .min = -1});
  f.add("window_attn_skip_freq", c.window_attn_skip_freq,
        {.help = "layers without the window: every N-th, or a list as ([1]*3+[0]) with 0 for those"});
  f.add("init_method_std", c.init_method_std,
        {.help = "standard deviation of the initial weights", .min = 0});
  f.add("bf16", c.bf16, {.help = "bf16 weights and activations, f32 master weights", .main = true});
  f.add("fp16", c.fp16, {.help = "f16 weights and activations, f32 master weights, a loss scale"});
  declare_fields(c.moe, f);
}

void validate(const GptConfig& c) {
  const auto require = [](bool holds, const std::string& message) {
    if (!holds) throw UsageError(message);
  };
  require(!c.bf16 || !c.fp16, "bf16 and fp16 exclude each other");
  require(!c.fp16 || !c.moe.has_experts(), "fp16 is for dense models; experts take bf16");
  require(c.kv_channels > 0 || c.hidden_size % c.num_attention_heads == 0,
          fmt::format("hidden_size {} is not a multiple of num_attention_heads {}; choose one that is, or "
                      "set kv_channels",
                      c.hidden_size, c.num_attention_heads));
  require(c.num_attention_heads % c.query_groups() == 0,
          fmt::format("num_attention_heads {} is not a multiple of num_query_groups {}",
                      c.num_attention_heads, c.query_groups()));
  require(
      !c.has_rope() || static_cast<int64_t>(static_cast<double>(c.head_dim()) * c.rotary_percent) % 2 == 0,
      fmt::format("rotary embedding turns pairs: head dimension {} x rotary_percent {} is odd", c.head_dim(),
                  c.rotary_percent));
  require(!(c.swiglu && c.squared_relu), "swiglu and squared_relu exclude each other");
  require(c.rope_low_frequency_factor < c.rope_high_frequency_factor,
          fmt::format("rope_low_frequency_factor {} must be below rope_high_frequency_factor {}",
                      c.rope_low_frequency_factor, c.rope_high_frequency_factor));
  require(c.window_size.empty() || (c.window_size.size() == 2 && c.window_size[1] == 0),
          fmt::format("window_size [{}] must be two numbers of which the second is 0: attention is causal",
                      fmt::join(c.window_size, ", ")));
  require(c.window_attn_skip_freq.empty() || !c.window_size.empty(),
          "window_attn_skip_freq needs window_size");
  c.attention_windows();
  validate(c.moe, c.num_layers);
  require(
      !c.moe.has_experts() || !c.add_bias_linear,
      fmt::format("num_experts {} needs add_bias_linear false: experts have no biases", c.moe.num_experts));
}

}  // namespace megalith
