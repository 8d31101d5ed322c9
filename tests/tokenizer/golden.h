#pragma once
// defines: golden_file, golden_model, random_bytes, random_text

#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "megalith/tokenizer/bpe_model.h"
#include "megalith/tokenizer/tokenizer_json.h"
#include "megalith/tokenizer/utf8.h"

namespace megalith {

/// A file that tools/golden_tokenizer.py made.
inline std::filesystem::path golden_file(const char* name) {
  return std::filesystem::path(MG_TEST_DATA) / "tokenizer" / name;
}

/// The vocabulary that Hugging Face `tokenizers` trained, with another splitting pattern.
inline BpeModel golden_model(SplitPattern pattern = SplitPattern::kGpt2) {
  BpeModel model = read_tokenizer_json(golden_file("tokenizer.json"));
  model.pattern = pattern;
  return model;
}

inline std::string random_bytes(std::mt19937& random, size_t size) {
  std::string bytes(size, 0);
  for (char& byte : bytes) byte = static_cast<char>(random());
  return bytes;
}

/// Words, white space, signs, other scripts and broken UTF-8 in any order.
inline std::string random_text(std::mt19937& random, size_t num_parts) {
  static const std::vector<std::string> kParts = {
      " ",         "  ",       "\n",   "\r\n",         "\t",     "\xC2\xA0", "\xE3\x80\x80", "'s", "'LL",
      "'\xC5\xBF", "1",        "234",  "abc",          "é",      "漢",       "🙂",         "//", "_",
      "\xFF",      "\xE3\x80", "\x80", "\xED\xA0\x80", "return", "x",        "\xC2\x85",     "{"};
  std::string text;
  for (size_t i = 0; i < num_parts; ++i) text += kParts[random() % kParts.size()];
  return text;
}

}  // namespace megalith
