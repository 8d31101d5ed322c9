#pragma once
// defines: Letters

#include <string>
#include <vector>

#include "megalith/tokenizer/tokenizer.h"

namespace megalith::testing {

/// Every id is one character.
class Letters : public Tokenizer {
 public:
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> ids;
    for (const char c : text) ids.push_back(c - 'a');
    return ids;
  }
  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text;
    for (const int32_t token : tokens) text += static_cast<char>('a' + token);
    return text;
  }
  int64_t vocab_size() const override { return 26; }
  int32_t eod() const override { return eod_; }
  std::string identity() const override { return "letters"; }
  int32_t eod_ = -1;
};

}  // namespace megalith::testing
