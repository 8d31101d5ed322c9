#include "megalith/models/gpt/hf_llama_config.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "megalith/models/gpt/hf_window.h"

namespace megalith {
namespace {

using Json = nlohmann::json;

constexpr std::array<std::string_view, 6> kModelTypes = {"llama", "mistral", "mixtral",
                                                         "qwen2", "qwen3",   "qwen3_moe"};

/// RoPE: `rope_theta` and `rope_scaling`, or both in `rope_parameters` (transformers 5).
void read_rope(const HfKeys& keys, GptConfig& config) {
  config.position_embedding_type = "rope";
  const char* place = keys.has("rope_parameters") ? "rope_parameters" : "rope_scaling";
  config.rotary_base = keys.number("rope_theta", 10000);
  config.rotary_percent = keys.number("partial_rotary_factor", 1);
  if (!keys.has(place)) return;
  const HfKeys rope = keys.object(place);
  config.rotary_base = rope.number("rope_theta", config.rotary_base);
  config.rotary_percent = rope.number("partial_rotary_factor", config.rotary_percent);
  const char* type_key = rope.has("rope_type") ? "rope_type" : "type";
  const std::string type = rope.text(type_key, "default");
  if (type == "default") return;
  if (type != "llama3") rope.refuse(type_key, "default, llama3");
  config.use_rope_scaling = true;
  config.rope_scaling_factor = rope.number("factor");
  config.rope_low_frequency_factor = rope.number("low_freq_factor");
  config.rope_high_frequency_factor = rope.number("high_freq_factor");
  config.rope_original_positions = rope.number("original_max_position_embeddings");
}

/// Qwen3-MoE's layers with experts: every decoder_sparse_step-th but those of mlp_only_layers.
std::string read_expert_layers(const HfKeys& keys, int64_t num_layers) {
  const int64_t step = keys.count("decoder_sparse_step", 1);
  const Json none = Json::array();
  const Json& dense = keys.has("mlp_only_layers") ? keys.raw("mlp_only_layers") : none;
  if (!dense.is_array()) keys.refuse("mlp_only_layers", "a list of layers");
  std::string pattern;
  for (int64_t layer = 0; layer < num_layers; ++layer) {
    const bool is_listed = std::find(dense.begin(), dense.end(), Json(layer)) != dense.end();
    const bool has_experts = (layer + 1) % step == 0 && !is_listed;
    pattern += fmt::format("{}{}", layer == 0 ? "[" : ",", has_experts ? 1 : 0);
  }
  return pattern + "]";
}

/// Their balancing loss is a matter of training and stays off.
void read_experts(const HfKeys& keys, const std::string& type, GptConfig& config) {
  const bool is_mixtral = type == "mixtral";
  MoeConfig& moe = config.moe;
  moe.num_experts = keys.count(keys.has("num_experts") ? "num_experts" : "num_local_experts");
  moe.router_topk = keys.count("num_experts_per_tok");
  if (is_mixtral) {
    if (keys.number("router_jitter_noise", 0) != 0) keys.refuse("router_jitter_noise", "0");
    return;
  }
  moe.ffn_hidden_size = keys.count("moe_intermediate_size");
  moe.layer_freq = read_expert_layers(keys, config.num_layers);
  // Without the norm the weights are those of a softmax over all experts.
  moe.router_pre_softmax = !keys.flag("norm_topk_prob", false);
}

struct HfModel {
  const char* type;
  const char* name;  // of the class
};

HfModel hf_model(HfArchitecture architecture) {
  switch (architecture) {
    case HfArchitecture::kMistral:
      return {"mistral", "MistralForCausalLM"};
    case HfArchitecture::kQwen2:
      return {"qwen2", "Qwen2ForCausalLM"};
    case HfArchitecture::kQwen3:
      return {"qwen3", "Qwen3ForCausalLM"};
    case HfArchitecture::kQwen3Moe:
      return {"qwen3_moe", "Qwen3MoeForCausalLM"};
    case HfArchitecture::kMixtral:
      return {"mixtral", "MixtralForCausalLM"};
    default:
      return {"llama", "LlamaForCausalLM"};
  }
}

HfArchitecture architecture_of(const GptConfig& config) {
  if (config.moe.has_experts())
    return config.qk_layernorm ? HfArchitecture::kQwen3Moe : HfArchitecture::kMixtral;
  if (config.qk_layernorm) return HfArchitecture::kQwen3;
  if (config.add_qkv_bias && !config.add_bias_linear) return HfArchitecture::kQwen2;
  return !config.window_size.empty() && !config.add_bias_linear ? HfArchitecture::kMistral
                                                                : HfArchitecture::kLlama;
}

void add_experts(const GptConfig& config, Json& object) {
  const MoeConfig& moe = config.moe;
  object["num_experts_per_tok"] = moe.router_topk;
  object["router_aux_loss_coef"] = moe.aux_loss_coeff;
  object["output_router_logits"] = false;
  if (!config.qk_layernorm) {
    object["intermediate_size"] = config.expert_ffn_size();
    object["num_local_experts"] = moe.num_experts;
    return;
  }
  object["num_experts"] = moe.num_experts;
  object["moe_intermediate_size"] = config.expert_ffn_size();
  object["norm_topk_prob"] = !moe.router_pre_softmax;
  object["decoder_sparse_step"] = 1;
  object["mlp_only_layers"] = Json::array();
  const std::vector<bool> has_experts = moe.expert_layers(config.num_layers);
  for (size_t layer = 0; layer < has_experts.size(); ++layer)
    if (!has_experts[layer]) object["mlp_only_layers"].push_back(layer);
}

}  // namespace

bool is_hf_llama_family(const std::string& model_type) {
  return std::find(kModelTypes.begin(), kModelTypes.end(), model_type) != kModelTypes.end();
}

GptConfig read_hf_llama(const HfKeys& keys, const std::string& type) {
  GptConfig config;
  config.num_layers = keys.count("num_hidden_layers");
  config.hidden_size = keys.count("hidden_size");
  config.ffn_hidden_size = keys.count("intermediate_size");
  config.num_attention_heads = keys.count("num_attention_heads");
  config.num_query_groups = keys.count("num_key_value_heads", config.num_attention_heads);
  if (keys.has("head_dim") || type == "qwen3") config.kv_channels = keys.count("head_dim", 128);
  config.vocab_size = keys.count("vocab_size");
  config.max_position_embeddings = keys.count("max_position_embeddings");
  read_hf_window(keys, type, config);
  read_rope(keys, config);
  config.normalization = "RMSNorm";
  config.norm_epsilon = keys.number("rms_norm_eps", 1e-6);
  config.swiglu = true;
  if (keys.text("hidden_act", "silu") != "silu") keys.refuse("hidden_act", "silu");

  config.add_qkv_bias = type == "qwen2";
  config.add_bias_linear = keys.flag("attention_bias", false);
  if (config.add_bias_linear != keys.flag("mlp_bias", false)) {
    keys.refuse(keys.has("mlp_bias") ? "mlp_bias" : "attention_bias",
                "the same as attention_bias and mlp_bias");
  }
  config.qk_layernorm = type == "qwen3" || type == "qwen3_moe";
  if (type == "mixtral" || type == "qwen3_moe") read_experts(keys, type, config);
  config.untie_embeddings_and_output_weights = !keys.flag("tie_word_embeddings", false);
  config.hidden_dropout = 0;
  config.attention_dropout = keys.number("attention_dropout", 0);
  config.init_method_std = keys.number("initializer_range", 0.02);
  return config;
}

HfArchitecture hf_llama_architecture(const GptConfig& config) {
  const HfArchitecture architecture = architecture_of(config);
  const auto need = [&](bool holds, std::string_view what) {
    MG_CHECK(holds, "Hugging Face's {} model cannot hold this one: {}", hf_model(architecture).type, what);
  };
  need(config.has_rope(), "position_embedding_type must be rope with normalization RMSNorm");
  need(config.swiglu, "swiglu must be true with normalization RMSNorm");
  need(config.rotary_percent == 1, fmt::format("rotary_percent is {}, not 1", config.rotary_percent));
  const bool may_have_bias = architecture == HfArchitecture::kLlama || architecture == HfArchitecture::kQwen2;
  need(may_have_bias || !(config.add_bias_linear || config.add_qkv_bias),
       "add_bias_linear and add_qkv_bias must be false with qk_layernorm or experts");
  const std::string window_problem = hf_window_problem(architecture, config);
  need(window_problem.empty(), window_problem);
  if (!config.moe.has_experts()) return architecture;

  const MoeConfig& moe = config.moe;
  need(moe.shared_expert_intermediate_size == 0,
       fmt::format("moe_shared_expert_intermediate_size is {}, not 0", moe.shared_expert_intermediate_size));
  need(moe.router_score_function == "softmax",
       fmt::format("moe_router_score_function is {}, not softmax", moe.router_score_function));
  need(moe.router_num_groups == 0, fmt::format("moe_router_num_groups is {}, not 0", moe.router_num_groups));
  need(moe.router_topk_scaling_factor == 0 || moe.router_topk_scaling_factor == 1,
       fmt::format("moe_router_topk_scaling_factor is {}, not 0", moe.router_topk_scaling_factor));
  need(moe.expert_capacity_factor == 0,
       fmt::format("moe_expert_capacity_factor is {}, not 0", moe.expert_capacity_factor));
  if (architecture == HfArchitecture::kMixtral) {
    need(!moe.router_pre_softmax, "moe_router_pre_softmax must be false without qk_layernorm");
    const std::vector<bool> has_experts = moe.expert_layers(config.num_layers);
    need(std::find(has_experts.begin(), has_experts.end(), false) == has_experts.end(),
         fmt::format("moe_layer_freq is {}: every layer must have experts without qk_layernorm",
                     moe.layer_freq));
  }
  return architecture;
}

Json hf_llama_object(const GptConfig& config) {
  const HfArchitecture architecture = hf_llama_architecture(config);
  const HfModel model = hf_model(architecture);
  Json object = {{"model_type", model.type},
                 {"architectures", {model.name}},
                 {"hidden_size", config.hidden_size},
                 {"intermediate_size", config.ffn_size()},
                 {"num_hidden_layers", config.num_layers},
                 {"num_attention_heads", config.num_attention_heads},
                 {"num_key_value_heads", config.query_groups()},
                 {"head_dim", config.head_dim()},
                 {"hidden_act", "silu"},
                 {"max_position_embeddings", config.max_position_embeddings},
                 {"rms_norm_eps", config.norm_epsilon},
                 {"rope_theta", config.rotary_base},
                 {"rope_scaling", nullptr},
                 {"attention_dropout", config.attention_dropout}};
  if (architecture == HfArchitecture::kLlama) {
    object["attention_bias"] = config.add_bias_linear;
    object["mlp_bias"] = config.add_bias_linear;
  }
  add_hf_window(architecture, config, object);
  if (config.moe.has_experts()) add_experts(config, object);
  if (config.use_rope_scaling) {
    object["rope_scaling"] = {
        {"rope_type", "llama3"},
        {"factor", config.rope_scaling_factor},
        {"low_freq_factor", config.rope_low_frequency_factor},
        {"high_freq_factor", config.rope_high_frequency_factor},
        {"original_max_position_embeddings", static_cast<int64_t>(config.rope_original_positions)}};
  }
  return object;
}

}  // namespace megalith
