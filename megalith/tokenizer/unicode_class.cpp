#include "megalith/tokenizer/unicode_class.h"

#include <algorithm>
#include <iterator>

#include "megalith/tokenizer/unicode_ranges.h"
#include "megalith/tokenizer/utf8.h"

namespace megalith {

CharClass unicode_class(uint32_t code_point) {
  using unicode_ranges::kUnicodeRanges;
  const auto* range = std::lower_bound(
      std::begin(kUnicodeRanges), std::end(kUnicodeRanges), code_point,
      [](const unicode_ranges::Range& candidate, uint32_t value) { return candidate.last < value; });
  if (range == std::end(kUnicodeRanges) || code_point < range->first) return CharClass::kOther;
  return range->char_class;
}

CharSpan classify_multibyte(std::string_view text, size_t begin) {
  const Utf8Char character = decode_utf8(text, begin);
  if (character.num_bytes == 0) return {CharClass::kOther, 1};
  return {unicode_class(character.code_point), character.num_bytes};
}

}  // namespace megalith
