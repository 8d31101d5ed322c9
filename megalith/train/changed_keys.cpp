#include "megalith/train/changed_keys.h"

#include <algorithm>
#include <array>
#include <string_view>

#include <fmt/format.h>

#include "megalith/config/recipe_difference.h"

namespace megalith {
namespace {

constexpr std::array<std::string_view, 4> kOnlyPlaces = {"data.num_prefetch", "data.data_cache_path",
                                                         "optim.optimizer_cpu_offload",
                                                         "optim.optimizer_offload_fraction"};
constexpr std::array<std::string_view, 3> kOfTraining = {"train.micro_batch_size", "train.global_batch_size",
                                                         "train.calculate_per_token_loss"};

template <size_t N>
bool is_among(std::string_view key, const std::array<std::string_view, N>& keys) {
  return std::find(keys.begin(), keys.end(), key) != keys.end();
}

bool shapes_a_run(std::string_view key) {
  const bool is_of_a_section =
      key.starts_with("model.") || key.starts_with("data.") || key.starts_with("optim.");
  return (is_of_a_section && !is_among(key, kOnlyPlaces)) || is_among(key, kOfTraining);
}

}  // namespace

std::string changed_keys(const std::string& stored_recipe, const std::string& recipe) {
  std::string text;
  for (const RecipeDifference& difference : recipe_differences(recipe, stored_recipe)) {
    if (!shapes_a_run(difference.key) || difference.here == "not set" || difference.there == "not set")
      continue;
    text += fmt::format("{}{} {} -> {}", text.empty() ? "" : ", ", difference.key, difference.there,
                        difference.here);
  }
  return text;
}

}  // namespace megalith
