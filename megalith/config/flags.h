#pragma once
// defines: parse_flags, load_options, kebab_case, value_name

#include <span>
#include <string>
#include <string_view>

#include "megalith/config/options.h"

namespace megalith {

/// "hidden_size" -> "hidden-size".
std::string kebab_case(std::string_view name);

/// What --help shows in the place of a value: "FILE", "N", "X".
std::string value_name(const Field& field);

/// Reads command line arguments (without the program and the command):
///     --hidden-size 512   --hidden_size=512   --swiglu   --no-swiglu   --data-path a b c   recipe.yaml   --
///     --file
/// A list takes every argument up to the next one that begins with `--`; what follows a lone `--` is
/// positional. Throws UsageError that names the flag and, for an unknown one, the nearest.
void parse_flags(Options& options, std::span<const std::string> arguments);

/// Flags over recipe over defaults: the recipe is the file in the text field `recipe`, if there is such a
/// field and the arguments set it. Ends with options.check().
void load_options(Options& options, std::span<const std::string> arguments);

}  // namespace megalith
