#pragma once
// defines: BpeMerge, AddedToken, BpeModel

#include <cstdint>
#include <string>
#include <vector>

#include "megalith/tokenizer/split_pattern.h"

namespace megalith {

/// Two neighbouring tokens that become one. Its place in BpeModel::merges is its rank.
struct BpeMerge {
  int32_t left;
  int32_t right;
  int32_t result;
};

/// A token that is found in the text before splitting, as a whole.
struct AddedToken {
  std::string content;
  int32_t id = 0;
  /// Control tokens: found only where the caller asks for it.
  bool is_special = true;
};

/// What a byte-level tokenizer.json says.
struct BpeModel {
  SplitPattern pattern = SplitPattern::kGpt2;
  /// A piece that is a token by itself is taken without merging.
  bool ignore_merges = false;
  /// The bytes of each token by id, added tokens included; "" is an id without a token.
  std::vector<std::string> tokens;
  std::vector<BpeMerge> merges;  ///< by rank
  std::vector<AddedToken> added_tokens;
};

}  // namespace megalith
