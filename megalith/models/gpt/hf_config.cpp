#include "megalith/models/gpt/hf_config.h"

#include <string_view>
#include <system_error>

#include "megalith/base/files.h"
#include "megalith/base/log.h"
#include "megalith/models/gpt/hf_llama_config.h"

namespace megalith {
namespace {

using Json = nlohmann::json;

constexpr const char* kConfigFile = "config.json";

void read_dtype(const HfKeys& keys, GptConfig& config) {
  const std::string dtype = keys.text("dtype", keys.text("torch_dtype", "float32"));
  config.bf16 = dtype == "bfloat16";
  config.fp16 = dtype == "float16" && !config.moe.has_experts();  // experts have no f16: f32 holds its values
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
  MG_CHECK(
      config.softmax_type == "vanilla",
      "Hugging Face's models of the supported kinds have no attention sink: softmax_type is {}, not vanilla",
      config.softmax_type);
  if (config.norm_kind() == NormKind::kRmsNorm) return hf_llama_architecture(config);
  const auto need = [](bool holds, std::string_view what) {
    MG_CHECK(holds, "Hugging Face's gpt2 model cannot hold this one: {}", what);
  };
  need(!config.moe.has_experts(), fmt::format("num_experts is {}, not 0", config.moe.num_experts));
  need(config.window_size.empty(), "window_size must be empty with normalization LayerNorm");
  need(!config.qk_layernorm, "qk_layernorm must be false with normalization LayerNorm");
  need(config.has_learned_positions(),
       "position_embedding_type must be learned_absolute with normalization LayerNorm");
  need(config.activation() == ActivationKind::kGelu,
       "the MLP must be GELU (neither swiglu nor squared_relu) with normalization LayerNorm");
  need(config.add_bias_linear, "add_bias_linear must be true with normalization LayerNorm");
  need(config.query_groups() == config.num_attention_heads,
       fmt::format("num_query_groups is {}, not num_attention_heads {}", config.query_groups(),
                   config.num_attention_heads));
  need(config.head_dim() * config.num_attention_heads == config.hidden_size,
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
  const bool is_llama = is_hf_llama_family(type);
  MG_CHECK(
      is_llama || type == "gpt2",
      "{}: model_type: '{}' is not supported; allowed: llama, mistral, mixtral, qwen2, qwen3, qwen3_moe, "
      "gpt2",
      file.string(), type);
  GptConfig config = is_llama ? read_hf_llama(keys, type) : read_gpt2(keys);
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
      hf_architecture(config) == HfArchitecture::kGpt2 ? gpt2_object(config) : hf_llama_object(config);
  object["vocab_size"] = config.vocab_size;
  object["tie_word_embeddings"] = !config.untie_embeddings_and_output_weights;
  object["initializer_range"] = config.init_method_std;
  object["torch_dtype"] = config.bf16 ? "bfloat16" : config.fp16 ? "float16" : "float32";
  object["bos_token_id"] = optional_token(tokens.bos);
  object["eos_token_id"] = optional_token(tokens.eos);
  object["use_cache"] = true;
  return object.dump(2) + "\n";
}

}  // namespace megalith
