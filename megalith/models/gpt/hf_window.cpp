#include "megalith/models/gpt/hf_window.h"

#include <algorithm>
#include <vector>

#include <fmt/format.h>

namespace megalith {
namespace {

using Json = nlohmann::json;

constexpr const char* kFull = "full_attention";
constexpr const char* kSliding = "sliding_attention";

std::vector<bool> read_layer_types(const HfKeys& keys, int64_t num_layers, bool may_slide) {
  const Json& types = keys.raw("layer_types");
  const std::string allowed = may_slide
                                  ? fmt::format("{} or {} for each of {} layers", kFull, kSliding, num_layers)
                                  : fmt::format("{} in every layer", kFull);
  std::vector<bool> slides;
  if (!types.is_array() || static_cast<int64_t>(types.size()) != num_layers)
    keys.refuse("layer_types", allowed);
  for (const Json& type : types) {
    if (type != kFull && (type != kSliding || !may_slide)) keys.refuse("layer_types", allowed);
    slides.push_back(type == kSliding);
  }
  return slides;
}

// Mistral's and Mixtral's config.json have no switch.
bool has_switch(HfArchitecture architecture) {
  return architecture != HfArchitecture::kMistral && architecture != HfArchitecture::kMixtral;
}

bool names_layers(HfArchitecture architecture) {
  return architecture == HfArchitecture::kQwen2 || architecture == HfArchitecture::kQwen3;
}

std::vector<bool> sliding_layers(const GptConfig& config) {
  std::vector<bool> slides;
  for (const int64_t window : config.attention_windows()) slides.push_back(window >= 0);
  return slides;
}

bool contains(const std::vector<bool>& all, bool value) {
  return std::find(all.begin(), all.end(), value) != all.end();
}

}  // namespace

void read_hf_window(const HfKeys& keys, const std::string& type, GptConfig& config) {
  const bool is_on = type == "mistral" || type == "mixtral" ||
                     (type.starts_with("qwen") && keys.flag("use_sliding_window", false));
  const bool has_window = is_on && keys.has("sliding_window");
  const bool names_layers = type == "qwen2" || type == "qwen3";
  std::vector<bool> slides(static_cast<size_t>(config.num_layers), has_window);
  if (keys.has("layer_types")) {
    slides = read_layer_types(keys, config.num_layers, has_window && names_layers);
  } else if (has_window && names_layers) {
    constexpr double kDefaultFullLayers = 28;
    const double num_full = keys.number("max_window_layers", kDefaultFullLayers);
    for (size_t layer = 0; layer < slides.size(); ++layer)
      slides[layer] = static_cast<double>(layer) >= num_full;
  }
  if (!has_window || !contains(slides, true)) return;
  config.window_size = {keys.count("sliding_window") - 1, 0};
  if (!contains(slides, false)) return;
  std::vector<int> ones(slides.begin(), slides.end());
  config.window_attn_skip_freq = fmt::format("[{}]", fmt::join(ones, ","));
}

std::string hf_window_problem(HfArchitecture architecture, const GptConfig& config) {
  const std::vector<bool> slides = sliding_layers(config);
  if (!contains(slides, true)) return "";
  if (architecture == HfArchitecture::kLlama || architecture == HfArchitecture::kGpt2)
    return "window_size must be empty";
  if (contains(slides, false) && !names_layers(architecture))
    return fmt::format("window_attn_skip_freq is {}: every layer must have the window",
                       config.window_attn_skip_freq);
  return "";
}

void add_hf_window(HfArchitecture architecture, const GptConfig& config, Json& object) {
  if (architecture == HfArchitecture::kLlama) return;
  const std::vector<bool> slides = sliding_layers(config);
  const bool has_window = contains(slides, true);
  if (has_switch(architecture)) object["use_sliding_window"] = has_window;
  object["sliding_window"] = has_window ? Json(config.window_size[0] + 1) : Json(nullptr);
  if (!has_window || !names_layers(architecture)) return;
  object["max_window_layers"] = std::find(slides.begin(), slides.end(), true) - slides.begin();
  object["layer_types"] = Json::array();
  for (const bool each : slides) object["layer_types"].push_back(each ? kSliding : kFull);
}

}  // namespace megalith
