#pragma once
// defines: nearest, human_count, human_bytes, human_duration, split, join, trim

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace megalith {

/// The candidate closest to `word` by edit distance (insert, delete, replace, swap of neighbours), or "" when
/// none is close enough to be what was meant.
std::string nearest(std::string_view word, std::span<const std::string> candidates);

std::string human_count(double count);       ///< 1234567 -> "1.23M"
std::string human_bytes(double bytes);       ///< 1536 -> "1.50 KiB"
std::string human_duration(double seconds);  ///< 75 -> "1m15s"

std::vector<std::string> split(std::string_view text, char separator);
std::string join(std::span<const std::string> parts, std::string_view separator);
std::string_view trim(std::string_view text);

}  // namespace megalith
