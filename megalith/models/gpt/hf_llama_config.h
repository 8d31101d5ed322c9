#pragma once
// defines: is_hf_llama_family, read_hf_llama, hf_llama_architecture, hf_llama_object

#include <string>

#include <nlohmann/json.hpp>

#include "megalith/models/gpt/hf_config.h"
#include "megalith/models/gpt/hf_keys.h"

namespace megalith {

/// Llama and its sisters: RMSNorm, RoPE, SwiGLU, with or without experts.
bool is_hf_llama_family(const std::string& model_type);
GptConfig read_hf_llama(const HfKeys& keys, const std::string& model_type);

/// Which of them holds a config with RMSNorm; throws Error naming the key that keeps it out.
HfArchitecture hf_llama_architecture(const GptConfig& config);
/// What a config.json says beside the keys that all models have.
nlohmann::json hf_llama_object(const GptConfig& config);

}  // namespace megalith
