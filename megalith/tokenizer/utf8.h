#pragma once
// defines: Utf8Char, decode_utf8, is_utf8, append_utf8, incomplete_utf8_suffix

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace megalith {

struct Utf8Char {
  uint32_t code_point = 0;
  uint32_t num_bytes = 0;  ///< 0: no well-formed sequence begins here
};

/// The character at text[begin], begin < text.size(). Well-formed as in table 3-7 of the Unicode standard:
/// no overlong forms, no surrogates, nothing above U+10FFFF.
Utf8Char decode_utf8(std::string_view text, size_t begin);

/// Whether the whole text is well-formed.
bool is_utf8(std::string_view text);

void append_utf8(uint32_t code_point, std::string& text);

/// Bytes at the end of the text that are the beginning of a well-formed character and not all of it: 0 to 3.
size_t incomplete_utf8_suffix(std::string_view text);

}  // namespace megalith
