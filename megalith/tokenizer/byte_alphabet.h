#pragma once
// defines: byte_to_code_point, bytes_to_alphabet, alphabet_to_bytes

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace megalith {

/// GPT-2's printable alphabet, in which byte-level vocabularies are written: the 188 printable bytes of
/// Latin-1 stand for themselves, the other 68 are U+0100, U+0101, ... in the order of their values.
uint32_t byte_to_code_point(uint8_t byte);

/// " the" -> "Ġthe". Every byte string has its spelling.
std::string bytes_to_alphabet(std::string_view bytes);

/// The inverse; nothing when a character is not of the alphabet or the UTF-8 is malformed.
std::optional<std::string> alphabet_to_bytes(std::string_view spelling);

}  // namespace megalith
