#pragma once
// defines: CharClass, CharSpan, kAsciiClass, classify, unicode_class

#include <array>
#include <cstddef>
#include <cstdint>
#include <string_view>

namespace megalith {

/// The partition of the code points that the well-known splitting patterns see: \p{L}, \p{N}, \s, the rest.
enum class CharClass : uint8_t { kLetter, kNumber, kSpace, kOther };

/// One character of a text: its class and its length in bytes.
struct CharSpan {
  CharClass char_class;
  uint32_t num_bytes;
};

inline constexpr std::array<CharClass, 128> kAsciiClass = [] {
  std::array<CharClass, 128> classes{};
  for (int c = 0; c < 128; ++c) {
    const bool is_letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    const bool is_space = c == ' ' || (c >= '\t' && c <= '\r');
    classes[c] = is_letter              ? CharClass::kLetter
                 : c >= '0' && c <= '9' ? CharClass::kNumber
                 : is_space             ? CharClass::kSpace
                                        : CharClass::kOther;
  }
  return classes;
}();

/// The class of a code point from U+0080 on.
CharClass unicode_class(uint32_t code_point);

/// The character at text[begin] when that byte is not ASCII.
CharSpan classify_multibyte(std::string_view text, size_t begin);

/// The character at text[begin], begin < text.size(). A byte that begins no valid UTF-8 sequence is one
/// character of class kOther.
inline CharSpan classify(std::string_view text, size_t begin) {
  const auto byte = static_cast<uint8_t>(text[begin]);
  if (byte < 0x80) [[likely]]
    return {kAsciiClass[byte], 1};
  return classify_multibyte(text, begin);
}

}  // namespace megalith
