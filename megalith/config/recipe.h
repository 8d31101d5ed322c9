#pragma once
// defines: read_recipe, parse_recipe, to_yaml

#include <filesystem>
#include <string>
#include <string_view>

#include "megalith/config/options.h"

namespace megalith {

/// Reads a YAML recipe: one mapping per section of use kRecipe. Throws UsageError naming file, line, key,
/// value and what is allowed; unknown sections and keys come with the nearest known name, and a key given
/// twice is an error. A file that cannot be read throws Error.
void read_recipe(Options& options, const std::filesystem::path& path);

/// The same for a text; `name` stands for the file in messages.
void parse_recipe(Options& options, std::string_view text, const std::string& name);

enum class YamlComments { kNone, kHelp };

/// The effective values of the recipe's sections as a recipe that reads back to the same values.
std::string to_yaml(const Options& options, YamlComments comments = YamlComments::kNone);

}  // namespace megalith
