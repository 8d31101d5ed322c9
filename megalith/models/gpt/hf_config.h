#pragma once
// defines: HfArchitecture, hf_architecture, is_hugging_face_directory, read_hf_config, HfTokens, to_hf_config

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "megalith/models/gpt/gpt_config.h"

namespace megalith {

/// Under which of Hugging Face's names a model's weights are kept.
enum class HfArchitecture {
  kLlama,
  kMistral,  ///< Llama without biases, with a sliding window
  kQwen2,    ///< a bias in QKV alone
  kQwen3,    ///< a norm of each head of Q and K
  kQwen3Moe,
  kMixtral,
  kGpt2,
};

/// Throws Error naming the key of the config that Hugging Face has no model for.
HfArchitecture hf_architecture(const GptConfig& config);

/// A directory with a config.json.
bool is_hugging_face_directory(const std::filesystem::path& directory);

/// config.json of model_type llama, mistral, mixtral, qwen2, qwen3, qwen3_moe or gpt2; dropout, RoPE with
/// Llama 3's scaling, head size, sliding windows, biases and tied embeddings are taken over, the vocabulary
/// is not padded. What this program cannot compute throws Error naming the file, the key, its value and what
/// is allowed.
GptConfig read_hf_config(const std::filesystem::path& directory);

/// Token ids that Hugging Face keeps in config.json and we do not; null there when empty.
struct HfTokens {
  std::optional<int64_t> bos, eos;
};

/// The text of a config.json that read_hf_config() and `transformers` (4.45 and newer) read. Throws Error as
/// hf_architecture() does.
std::string to_hf_config(const GptConfig& config, const HfTokens& tokens);

}  // namespace megalith
