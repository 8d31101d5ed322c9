#pragma once
// defines: SplitPattern, split_pattern_regex, find_split_pattern, next_piece, safe_cut

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace megalith {

/// The well-known regular expressions that cut a text into pieces before BPE. Each has a scanner written by
/// hand; a piece never depends on what lies to its left.
enum class SplitPattern : uint8_t {
  kGpt2,
  kLlama3,  ///< also cl100k (GPT-4): up to three digits a piece, contractions in either case
  kQwen2,   ///< as kLlama3 with one digit a piece
};

/// The pattern as tokenizer.json spells it.
std::string_view split_pattern_regex(SplitPattern pattern);

/// The pattern of a regular expression in any of its known spellings.
std::optional<SplitPattern> find_split_pattern(std::string_view regex);

/// The end of the piece that begins at text[begin], begin < text.size(). Pieces follow each other without a
/// gap, so that a text is exactly its pieces.
size_t next_piece(SplitPattern pattern, std::string_view text, size_t begin);

/// The last place in (0, text.size()) where cutting the text changes no piece under any of the patterns:
/// between a lone line feed behind an ASCII character that is no space, and an ASCII letter or digit. 0 when
/// there is none.
size_t safe_cut(std::string_view text);

}  // namespace megalith
