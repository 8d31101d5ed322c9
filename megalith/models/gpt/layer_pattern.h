#pragma once
// defines: parse_layer_pattern

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace megalith {

/// Megatron's notation for "which layers": a number f (layers 0, f, 2 f, ...), or a list of 0 and 1 for every
/// layer, in which sums, products with a number and parentheses stand for longer ones: ([0]*3+[1]*1)*4.
/// Throws UsageError naming `key`, the text and what is wrong.
std::vector<bool> parse_layer_pattern(const char* key, const std::string& text, int64_t num_layers);

}  // namespace megalith
