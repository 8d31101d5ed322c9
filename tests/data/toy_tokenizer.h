#pragma once
// defines: ToyTokenizer

#include <string>
#include <vector>

#include "megalith/tokenizer/tokenizer.h"

namespace megalith {

/// One token a byte, its value plus one; 0 ends a document.
class ToyTokenizer final : public Tokenizer {
 public:
  explicit ToyTokenizer(int64_t vocab = 257, int32_t eod = 0) : vocab_(vocab), eod_(eod) {}
  std::vector<int32_t> encode(std::string_view text) const override {
    std::vector<int32_t> tokens;
    for (const char c : text) tokens.push_back(static_cast<unsigned char>(c) + 1);
    return tokens;
  }
  std::string decode(std::span<const int32_t> tokens) const override {
    std::string text;
    for (const int32_t token : tokens) text += token == 0 ? '|' : static_cast<char>(token - 1);
    return text;
  }
  int64_t vocab_size() const override { return vocab_; }
  int32_t eod() const override { return eod_; }
  std::string identity() const override { return "toy"; }

 private:
  int64_t vocab_;
  int32_t eod_;
};

}  // namespace megalith
