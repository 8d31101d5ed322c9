#include <unordered_map>

#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/tokenizer/byte_alphabet.h"
#include "megalith/tokenizer/tokenizer_json.h"

namespace megalith {
namespace {

std::string json_string(const std::string& text) {
  return nlohmann::json(text).dump();
}

std::string byte_level(std::string_view use_regex) {
  return fmt::format(
      R"({{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": {}}})",
      use_regex);
}

std::string pre_tokenizer(SplitPattern pattern) {
  if (pattern == SplitPattern::kGpt2) return byte_level("true");
  return fmt::format(
      R"({{"type": "Sequence", "pretokenizers": [)"
      R"({{"type": "Split", "pattern": {{"Regex": {}}}, "behavior": "Isolated", "invert": false}}, {}]}})",
      json_string(std::string(split_pattern_regex(pattern))), byte_level("false"));
}

}  // namespace

/// Written by hand, one token or merge a line, because the order of the ids is worth keeping.
std::string tokenizer_json(const BpeModel& model) {
  std::unordered_map<int32_t, const AddedToken*> added;
  for (const AddedToken& token : model.added_tokens) added.emplace(token.id, &token);
  std::vector<std::string> spellings;
  spellings.reserve(model.tokens.size());
  for (size_t id = 0; id < model.tokens.size(); ++id) {
    const auto found = added.find(static_cast<int32_t>(id));
    spellings.push_back(found != added.end() ? found->second->content : bytes_to_alphabet(model.tokens[id]));
  }

  std::string out =
      "{\n  \"version\": \"1.0\",\n  \"truncation\": null,\n  \"padding\": null,\n  \"added_tokens\": [";
  const char* separator = "\n";
  for (const AddedToken& token : model.added_tokens) {
    out += fmt::format(
        R"({}    {{"id": {}, "content": {}, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": {}}})",
        separator, token.id, json_string(token.content), token.is_special);
    separator = ",\n";
  }
  out +=
      fmt::format("\n  ],\n  \"normalizer\": null,\n  \"pre_tokenizer\": {},\n  \"post_processor\": null,\n",
                  pre_tokenizer(model.pattern));
  out += fmt::format("  \"decoder\": {},\n  \"model\": {{\n    \"type\": \"BPE\",\n", byte_level("true"));
  out += "    \"dropout\": null,\n    \"unk_token\": null,\n    \"continuing_subword_prefix\": null,\n";
  out += "    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n    \"byte_fallback\": false,\n";
  out += fmt::format("    \"ignore_merges\": {},\n    \"vocab\": {{", model.ignore_merges);
  separator = "\n";
  for (size_t id = 0; id < spellings.size(); ++id) {
    if (spellings[id].empty()) continue;
    out += fmt::format("{}      {}: {}", separator, json_string(spellings[id]), id);
    separator = ",\n";
  }
  out += "\n    },\n    \"merges\": [";
  separator = "\n";
  for (const BpeMerge& merge : model.merges) {
    // The alphabet has no space, so one separates the halves.
    out += fmt::format("{}      {}", separator,
                       json_string(spellings[merge.left] + " " + spellings[merge.right]));
    separator = ",\n";
  }
  out += "\n    ]\n  }\n}\n";
  return out;
}

}  // namespace megalith
