#pragma once
// defines: AddedTokenMatcher

#include <array>
#include <cstddef>
#include <string_view>
#include <vector>

#include "megalith/tokenizer/bpe_model.h"

namespace megalith {

/// Finds added tokens in a text: the leftmost, and the longest of those that begin at one place.
class AddedTokenMatcher {
 public:
  void add(const AddedToken& token);
  bool empty() const { return num_tokens_ == 0; }

  struct Match {
    size_t begin;  ///< text.size() when there is none
    size_t end;
    int32_t id;
  };
  Match find(std::string_view text, size_t begin) const;

 private:
  std::array<std::vector<AddedToken>, 256> by_first_byte_;  ///< each longest first
  size_t num_tokens_ = 0;
};

}  // namespace megalith
