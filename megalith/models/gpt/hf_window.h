#pragma once
// defines: read_hf_window, hf_window_problem, add_hf_window

#include <string>

#include "megalith/models/gpt/gpt_config.h"
#include "megalith/models/gpt/hf_config.h"
#include "megalith/models/gpt/hf_keys.h"

namespace megalith {

// Hugging Face counts a token itself into `sliding_window`, window_size does not. Mistral, Mixtral and
// Qwen3-MoE have one window in every layer; Qwen2 and Qwen3 name the layers in `layer_types`, or let them
// begin at `max_window_layers`. The Qwens read any of it with `use_sliding_window` alone.

/// Sets window_size and window_attn_skip_freq; throws Error as read_hf_config() does.
void read_hf_window(const HfKeys& keys, const std::string& type, GptConfig& config);

/// What the architecture cannot hold of the model's windows, or empty.
std::string hf_window_problem(HfArchitecture architecture, const GptConfig& config);

/// The keys of the architecture that say which layers have a window.
void add_hf_window(HfArchitecture architecture, const GptConfig& config, nlohmann::json& object);

}  // namespace megalith
