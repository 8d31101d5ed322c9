#include "megalith/models/gpt/hf_config.h"

#include <string_view>
#include <system_error>

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/log.h"

namespace megalith {
namespace {

using Json = nlohmann::json;

constexpr const char* kConfigFile = "config.json";

/// The keys of one JSON object, with errors that name the file and the key. A null counts as absent.
class HfKeys {
 public:
  HfKeys(std::string file, const Json& object) : file_(std::move(file)), object_(&object) {
    MG_CHECK(object.is_object(), "{}: not a JSON object", file_);
  }

  bool has(const char* key) const {
    const auto found = object_->find(key);
    return found != object_->end() && !found->is_null();
  }
  HfKeys object(const char* key) const { return HfKeys(fmt::format("{}: {}", file_, key), object_->at(key)); }
  const Json& raw(const char* key) const { return object_->at(key); }

  int64_t count(const char* key, std::optional<int64_t> otherwise = {}) const {
    if (!has(key) && otherwise) return *otherwise;
    check_there(key);
    const Json& value = object_->at(key);
    MG_CHECK(value.is_number_integer() && value.get<int64_t>() > 0,
             "{}: {}: {} is not a positive whole number", file_, key, value.dump());
    return value.get<int64_t>();
  }
  double number(const char* key, std::optional<double> otherwise = {}) const {
    if (!has(key) && otherwise) return *otherwise;
    check_there(key);
    const Json& value = object_->at(key);
    MG_CHECK(value.is_number(), "{}: {}: {} is not a number", file_, key, value.dump());
    return value.get<double>();
  }
  bool flag(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    const Json& value = object_->at(key);
    MG_CHECK(value.is_boolean(), "{}: {}: {} is not true or false", file_, key, value.dump());
    return value.get<bool>();
  }
  std::string text(const char* key, const std::string& otherwise) const {
    if (!has(key)) return otherwise;
    const Json& value = object_->at(key);
    MG_CHECK(value.is_string(), "{}: {}: {} is not a text", file_, key, value.dump());
    return value.get<std::string>();
  }

  [[noreturn]] void refuse(const char* key, const std::string& allowed) const {
    fail("{}: {}: {} is not supported; allowed: {}", file_, key, object_->at(key).dump(), allowed);
  }

 private:
  void check_there(const char* key) const { MG_CHECK(has(key), "{}: the key {} is missing", file_, key); }

  std::string file_;
  const Json* object_;
};

void read_dtype(const HfKeys& keys, GptConfig& config) {
  const std::string dtype = keys.text("dtype", keys.text("torch_dtype", "float32"));
  config.bf16 = dtype == "bfloat16";
}

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

/// Every token sees all before it: no window that is shorter than the longest sequence.
void check_full_attention(const HfKeys& keys, int64_t max_positions, const std::string& type) {
  const bool uses_window = type == "mistral" || keys.flag("use_sliding_window", false);
  if (uses_window && keys.has("sliding_window") && keys.count("sliding_window") < max_positions) {
    keys.refuse("sliding_window",
                fmt::format("null, or at least max_position_embeddings ({})", max_positions));
  }
  if (keys.has("layer_types")) {
    for (const Json& layer : keys.raw("layer_types")) {
      if (layer != "full_attention") keys.refuse("layer_types", "full_attention in every layer");
    }
  }
}

GptConfig read_llama(const HfKeys& keys, const std::string& type) {
  GptConfig config;
  config.num_layers = keys.count("num_hidden_layers");
  config.hidden_size = keys.count("hidden_size");
  config.ffn_hidden_size = keys.count("intermediate_size");
  config.num_attention_heads = keys.count("num_attention_heads");
  config.num_query_groups = keys.count("num_key_value_heads", config.num_attention_heads);
  if (keys.has("head_dim")) config.kv_channels = keys.count("head_dim");
  config.vocab_size = keys.count("vocab_size");
  config.max_position_embeddings = keys.count("max_position_embeddings");
  check_full_attention(keys, config.max_position_embeddings, type);
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
  config.untie_embeddings_and_output_weights = !keys.flag("tie_word_embeddings", false);
  config.hidden_dropout = 0;
  config.attention_dropout = keys.number("attention_dropout", 0);
  config.init_method_std = keys.number("initializer_range", 0.02);
  return config;
}

GptConfig read_gpt2(const HfKeys& keys) {
  GptConfig config;
  config.num_layers = keys.count("n_layer");
  config.hidden_size = keys.count("n_embd");
  config.ffn_hidden_size = keys.count("n_inner", 4 * config.hidden_size);
  config.num_attention_heads = keys.count("n_head");
  config.vocab_size = keys.count("vocab_size");
  config.max_position_embeddings = keys.count("n_positions", 1024);
  config.norm_epsilon = keys.number("layer_norm_epsilon", 1e-5);
  const std::string activation = keys.text("activation_function", "gelu_new");
  if (activation != "gelu_new" && activation != "gelu_pytorch_tanh") {
    keys.refuse("activation_function", "gelu_new, gelu_pytorch_tanh");
  }
  if (!keys.flag("scale_attn_weights", true)) keys.refuse("scale_attn_weights", "true");
  for (const char* key : {"scale_attn_by_inverse_layer_idx", "add_cross_attention"}) {
    if (keys.flag(key, false)) keys.refuse(key, "false");
  }
  config.untie_embeddings_and_output_weights = !keys.flag("tie_word_embeddings", true);
  config.hidden_dropout = keys.number("resid_pdrop", 0.1);
  if (keys.number("embd_pdrop", 0.1) != config.hidden_dropout) {
    log_warn("embd_pdrop is not used: the embeddings drop with resid_pdrop {}", config.hidden_dropout);
  }
  config.attention_dropout = keys.number("attn_pdrop", 0.1);
  config.init_method_std = keys.number("initializer_range", 0.02);
  return config;
}

Json optional_token(const std::optional<int64_t>& token) {
  return token ? Json(*token) : Json(nullptr);
}

Json llama_object(const GptConfig& config) {
  const bool is_qwen2 = config.add_qkv_bias && !config.add_bias_linear;
  Json object = {{"model_type", is_qwen2 ? "qwen2" : "llama"},
                 {"architectures", {is_qwen2 ? "Qwen2ForCausalLM" : "LlamaForCausalLM"}},
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
  if (is_qwen2) {
    object["use_sliding_window"] = false;
  } else {
    object["attention_bias"] = config.add_bias_linear;
    object["mlp_bias"] = config.add_bias_linear;
  }
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

Json gpt2_object(const GptConfig& config) {
  return {{"model_type", "gpt2"},
          {"architectures", {"GPT2LMHeadModel"}},
          {"n_embd", config.hidden_size},
          {"n_inner", config.ffn_size()},
          {"n_layer", config.num_layers},
          {"n_head", config.num_attention_heads},
          {"n_positions", config.max_position_embeddings},
          {"activation_function", "gelu_new"},
          {"layer_norm_epsilon", config.norm_epsilon},
          {"resid_pdrop", config.hidden_dropout},
          {"embd_pdrop", config.hidden_dropout},
          {"attn_pdrop", config.attention_dropout}};
}

}  // namespace

HfArchitecture hf_architecture(const GptConfig& config) {
  const auto need = [](bool holds, const char* model, std::string_view what) {
    MG_CHECK(holds, "Hugging Face's {} model cannot hold this one: {}", model, what);
  };
  const bool is_llama = config.norm_kind() == NormKind::kRmsNorm;
  need(!config.moe.has_experts(), is_llama ? "llama" : "gpt2",
       fmt::format("num_experts is {}, not 0", config.moe.num_experts));
  need(!config.qk_layernorm, is_llama ? "llama" : "gpt2", "qk_layernorm must be false");
  if (is_llama) {
    need(config.has_rope(), "llama", "position_embedding_type must be rope with normalization RMSNorm");
    need(config.swiglu, "llama", "swiglu must be true with normalization RMSNorm");
    need(config.rotary_percent == 1, "llama",
         fmt::format("rotary_percent is {}, not 1", config.rotary_percent));
    return HfArchitecture::kLlama;
  }
  need(config.has_learned_positions(), "gpt2",
       "position_embedding_type must be learned_absolute with normalization LayerNorm");
  need(config.activation() == ActivationKind::kGelu, "gpt2",
       "the MLP must be GELU (neither swiglu nor squared_relu) with normalization LayerNorm");
  need(config.add_bias_linear, "gpt2", "add_bias_linear must be true with normalization LayerNorm");
  need(config.query_groups() == config.num_attention_heads, "gpt2",
       fmt::format("num_query_groups is {}, not num_attention_heads {}", config.query_groups(),
                   config.num_attention_heads));
  need(config.head_dim() * config.num_attention_heads == config.hidden_size, "gpt2",
       fmt::format("kv_channels {} x num_attention_heads {} is not hidden_size {}", config.head_dim(),
                   config.num_attention_heads, config.hidden_size));
  return HfArchitecture::kGpt2;
}

bool is_hugging_face_directory(const std::filesystem::path& directory) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(directory / kConfigFile, ignored);
}

GptConfig read_hf_config(const std::filesystem::path& directory) {
  const std::filesystem::path file = directory / kConfigFile;
  Json object;
  try {
    object = Json::parse(read_text_file(file));
  } catch (const Json::exception& error) {
    fail("{}: not valid JSON: {}", file.string(), error.what());
  }
  const HfKeys keys(file.string(), object);
  if (keys.has("quantization_config"))
    keys.refuse("quantization_config", "none: weights in f32, bf16 or f16");
  const std::string type = keys.text("model_type", "");
  const bool is_llama = type == "llama" || type == "mistral" || type == "qwen2";
  MG_CHECK(is_llama || type == "gpt2",
           "{}: model_type: '{}' is not supported; allowed: llama, mistral, qwen2, gpt2", file.string(),
           type);
  GptConfig config = is_llama ? read_llama(keys, type) : read_gpt2(keys);
  read_dtype(keys, config);
  config.make_vocab_size_divisible_by = 1;
  try {
    validate(config);
    static_cast<void>(hf_architecture(config));
  } catch (const Error& error) {
    fail("{}: {}", file.string(), error.what());
  }
  return config;
}

std::string to_hf_config(const GptConfig& config, const HfTokens& tokens) {
  Json object =
      hf_architecture(config) == HfArchitecture::kLlama ? llama_object(config) : gpt2_object(config);
  object["vocab_size"] = config.vocab_size;
  object["tie_word_embeddings"] = !config.untie_embeddings_and_output_weights;
  object["initializer_range"] = config.init_method_std;
  object["torch_dtype"] = config.bf16 ? "bfloat16" : "float32";
  object["bos_token_id"] = optional_token(tokens.bos);
  object["eos_token_id"] = optional_token(tokens.eos);
  object["use_cache"] = true;
  return object.dump(2) + "\n";
}

}  // namespace megalith
