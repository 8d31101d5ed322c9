#include "megalith/tokenizer/split_pattern.h"

#include "megalith/base/error.h"
#include "megalith/tokenizer/unicode_class.h"

namespace megalith {
namespace {

constexpr std::string_view kGpt2Regex =
    R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)";
constexpr std::string_view kLlama3Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kQwen2Regex =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
// The spelling of the reference implementation of cl100k: possessive, otherwise the same language.
constexpr std::string_view kCl100kRegex =
    R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)";

bool is_newline(char c) {
  return c == '\n' || c == '\r';
}

/// The end of the run of characters of one class that begins at `begin`.
size_t run_end(std::string_view text, size_t begin, CharClass char_class) {
  while (begin < text.size()) {
    const CharSpan character = classify(text, begin);
    if (character.char_class != char_class) break;
    begin += character.num_bytes;
  }
  return begin;
}

enum class LetterCase { kLower, kAny };

/// The length of 's 't 're 've 'm 'll 'd at text[begin], which is an apostrophe; 0 for none of them.
template <LetterCase kCase>
size_t contraction(std::string_view text, size_t begin) {
  const auto letter = [&](size_t index) -> char {
    if (begin + index >= text.size()) return 0;
    const char c = text[begin + index];
    return kCase == LetterCase::kAny && c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
  };
  const char first = letter(1);
  if (first == 's' || first == 't' || first == 'm' || first == 'd') return 2;
  const char second = letter(2);
  if ((first == 'r' && second == 'e') || (first == 'v' && second == 'e') || (first == 'l' && second == 'l'))
    return 3;
  // U+017F, the long s, is an s of another case.
  if (kCase == LetterCase::kAny && text.substr(begin + 1, 2) == "\xC5\xBF") return 3;
  return 0;
}

/// A run of white space [begin, end): all of it at the end of the text, otherwise all but its last character,
/// which the next piece may want; a single character stands alone. (\s+(?!\S)|\s+)
size_t space_piece_end(std::string_view text, size_t begin, size_t end, size_t last_begin) {
  return end == text.size() || last_begin == begin ? end : last_begin;
}

size_t next_gpt2_piece(std::string_view text, size_t begin) {
  if (text[begin] == '\'')
    if (const size_t length = contraction<LetterCase::kLower>(text, begin)) return begin + length;
  size_t word = begin;
  if (text[begin] == ' ' && begin + 1 < text.size()) ++word;
  CharSpan character = classify(text, word);
  if (character.char_class != CharClass::kSpace)
    return run_end(text, word + character.num_bytes, character.char_class);
  size_t end = begin;
  size_t last_begin = begin;
  while (end < text.size() && (character = classify(text, end)).char_class == CharClass::kSpace) {
    last_begin = end;
    end += character.num_bytes;
  }
  return space_piece_end(text, begin, end, last_begin);
}

/// kLlama3 and kQwen2 differ in the digits of a piece.
size_t next_llama3_piece(std::string_view text, size_t begin, int max_digits) {
  if (text[begin] == '\'')
    if (const size_t length = contraction<LetterCase::kAny>(text, begin)) return begin + length;
  const CharSpan first = classify(text, begin);
  const size_t second_begin = begin + first.num_bytes;
  if (first.char_class == CharClass::kLetter) return run_end(text, second_begin, CharClass::kLetter);
  if (first.char_class == CharClass::kNumber) {
    size_t end = second_begin;
    for (int digits = 1; digits < max_digits && end < text.size(); ++digits) {
      const CharSpan next = classify(text, end);
      if (next.char_class != CharClass::kNumber) break;
      end += next.num_bytes;
    }
    return end;
  }
  CharSpan second{CharClass::kSpace, 0};
  if (second_begin < text.size()) second = classify(text, second_begin);
  if (second.char_class == CharClass::kLetter && !is_newline(text[begin]))
    return run_end(text, second_begin + second.num_bytes, CharClass::kLetter);
  if (first.char_class == CharClass::kOther ||
      (text[begin] == ' ' && second.char_class == CharClass::kOther)) {
    size_t end = run_end(text, second_begin, CharClass::kOther);
    while (end < text.size() && is_newline(text[end])) ++end;
    return end;
  }
  size_t end = begin;
  size_t last_begin = begin;
  size_t after_newline = begin;
  while (end < text.size()) {
    const CharSpan character = classify(text, end);
    if (character.char_class != CharClass::kSpace) break;
    last_begin = end;
    end += character.num_bytes;
    if (is_newline(text[last_begin])) after_newline = end;
  }
  if (after_newline != begin) return after_newline;
  return space_piece_end(text, begin, end, last_begin);
}

}  // namespace

std::string_view split_pattern_regex(SplitPattern pattern) {
  switch (pattern) {
    case SplitPattern::kGpt2:
      return kGpt2Regex;
    case SplitPattern::kLlama3:
      return kLlama3Regex;
    case SplitPattern::kQwen2:
      return kQwen2Regex;
  }
  MG_ASSERT(!"unknown SplitPattern");
}

std::optional<SplitPattern> find_split_pattern(std::string_view regex) {
  if (regex == kGpt2Regex) return SplitPattern::kGpt2;
  if (regex == kLlama3Regex || regex == kCl100kRegex) return SplitPattern::kLlama3;
  if (regex == kQwen2Regex) return SplitPattern::kQwen2;
  return std::nullopt;
}

size_t next_piece(SplitPattern pattern, std::string_view text, size_t begin) {
  switch (pattern) {
    case SplitPattern::kGpt2:
      return next_gpt2_piece(text, begin);
    case SplitPattern::kLlama3:
      return next_llama3_piece(text, begin, 3);
    case SplitPattern::kQwen2:
      return next_llama3_piece(text, begin, 1);
  }
  MG_ASSERT(!"unknown SplitPattern");
}

size_t safe_cut(std::string_view text) {
  const auto class_at = [&](size_t index) {
    const auto byte = static_cast<uint8_t>(text[index]);
    return byte < 0x80 ? kAsciiClass[byte] : CharClass::kSpace;  // only ASCII is sure not to be a space
  };
  for (size_t cut = text.size(); cut-- > 2;) {
    if (text[cut - 1] != '\n' || class_at(cut - 2) == CharClass::kSpace) continue;
    const CharClass next = class_at(cut);
    if (next == CharClass::kLetter || next == CharClass::kNumber) return cut;
  }
  return 0;
}

}  // namespace megalith
