#pragma once
// defines: RecipeDifference, recipe_differences

#include <string>
#include <vector>

namespace megalith {

struct RecipeDifference {
  std::string key;  ///< "section.key"
  /// The values; "not set" where the text has no such key, "empty" where it has no value.
  std::string here, there;
};

/// The keys whose values differ, in the order of `here`, then those that only `there` has. Both are recipes
/// as to_yaml() (config/recipe.h) writes them.
std::vector<RecipeDifference> recipe_differences(const std::string& here, const std::string& there);

}  // namespace megalith
