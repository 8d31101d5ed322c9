#include "megalith/tokenizer/tokenizer_json.h"

#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/tokenizer/bpe_tokenizer.h"

#include "tests/data/scratch_directory.h"
#include "tests/tokenizer/golden.h"

namespace megalith {
namespace {

using nlohmann::json;
using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

json golden_json() {
  return json::parse(read_text_file(golden_file("tokenizer.json")));
}

BpeModel parse(const json& document) {
  return parse_tokenizer_json(document.dump(), "t.json");
}

bool same_model(const BpeModel& a, const BpeModel& b) {
  return a.tokens == b.tokens && BpeTokenizer(a).identity() == BpeTokenizer(b).identity();
}

TEST(TokenizerJson, WhatIsWrittenIsReadAgain) {
  for (const SplitPattern pattern : {SplitPattern::kGpt2, SplitPattern::kLlama3, SplitPattern::kQwen2}) {
    BpeModel model = golden_model(pattern);
    model.ignore_merges = pattern == SplitPattern::kLlama3;
    model.added_tokens.push_back({"<a \"b\">é", static_cast<int32_t>(model.tokens.size()), false});
    model.tokens.push_back(model.added_tokens.back().content);
    const BpeModel again = parse_tokenizer_json(tokenizer_json(model), "again");
    EXPECT_EQ(again.pattern, pattern);
    EXPECT_EQ(again.ignore_merges, model.ignore_merges);
    EXPECT_TRUE(same_model(again, model));
  }
}

TEST(TokenizerJson, MergesAsStringsOrPairs) {
  json strings = golden_json();
  json pairs = strings;
  for (json& merge : strings["model"]["merges"])
    if (merge.is_array()) merge = merge[0].get<std::string>() + " " + merge[1].get<std::string>();
  for (json& merge : pairs["model"]["merges"]) {
    if (!merge.is_string()) continue;
    const auto text = merge.get<std::string>();
    merge = {text.substr(0, text.find(' ')), text.substr(text.find(' ') + 1)};
  }
  ASSERT_NE(strings, pairs);
  EXPECT_TRUE(same_model(parse(strings), parse(pairs)));
}

TEST(TokenizerJson, NamesWhatItCannotDo) {
  struct Case {
    const char* pointer;
    json value;
    const char* message;
  };
  const json split = {
      {"type", "Sequence"},
      {"pretokenizers",
       {{{"type", "Split"}, {"pattern", {{"Regex", "[a-z]+"}}}, {"behavior", "Isolated"}, {"invert", false}},
        {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", false}}}}};
  const Case cases[] = {
      {"/model/type", "Unigram", "'model.type' is 'Unigram'; only BPE"},
      {"/model/byte_fallback", true, "'model.byte_fallback'"},
      {"/model/dropout", 0.1, "'model.dropout' is 0.1"},
      {"/model/end_of_word_suffix", "</w>", "'model.end_of_word_suffix'"},
      {"/model/vocab", json::object(), "'model.vocab'"},
      {"/model/vocab/!", -1, "id of the token '!' is -1"},
      {"/model/vocab/!", 1e30, "id of the token '!'"},
      {"/model/vocab/!", int64_t{1} << 40, "id of the token '!'"},
      {"/model/vocab/!", 2, "id 2 belongs to two tokens"},
      {"/model/merges/3", "abc", "merge 3 is 'abc'"},
      {"/model/merges/3", 17, "merge 3 is 17"},
      {"/model/merges/3", json::array({"zq", "zq"}), "merge 3 needs the token 'zq'"},
      {"/normalizer", {{"type", "NFC"}}, "'normalizer'"},
      {"/pre_tokenizer", nullptr, "'pre_tokenizer' has no 'type'"},
      {"/pre_tokenizer/type", "Metaspace", "'pre_tokenizer'"},
      {"/pre_tokenizer/add_prefix_space", true, "'add_prefix_space'"},
      {"/pre_tokenizer/use_regex", false, "'use_regex'"},
      {"/pre_tokenizer", split, "regular expression '[a-z]+'"},
      {"/decoder/type", "Metaspace", "'decoder'"},
      {"/added_tokens/0/content", "", "added token"},
      {"/added_tokens/0/id", 5, "'<|endoftext|>' has the id 5"},
  };
  for (const Case& wrong : cases) {
    json document = golden_json();
    document[json::json_pointer(wrong.pointer)] = wrong.value;
    EXPECT_THAT([&] { parse(document); },
                ThrowsMessage<Error>(AllOf(HasSubstr("t.json: "), HasSubstr(wrong.message))))
        << wrong.pointer;
  }
  EXPECT_THAT([] { parse_tokenizer_json("{\"model\":", "t.json"); },
              ThrowsMessage<Error>(HasSubstr("t.json")));
  EXPECT_THAT([] { parse_tokenizer_json("[]", "t.json"); },
              ThrowsMessage<Error>(HasSubstr("not a JSON object")));
}

TEST(TokenizerJson, MutatedFilesLoadOrThrowError) {
  // A small document with everything in it, so that mutations hit the structure and not only the vocabulary.
  BpeModel small = golden_model(SplitPattern::kLlama3);
  small.tokens.resize(260);
  small.merges.resize(3);
  const std::string text = tokenizer_json(small);
  std::mt19937 random(7);
  int num_loaded = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string mutated = text;
    const size_t structure = round % 2 ? mutated.size() : 900;  // the head holds all but the vocabulary
    for (uint32_t edits = 1 + random() % 3; edits > 0; --edits) {
      const size_t place = random() % std::min(structure, mutated.size());
      switch (random() % 4) {
        case 0:
          mutated[place] = static_cast<char>(random());
          break;
        case 1:
          mutated.erase(place, 1 + random() % 20);
          break;
        case 2:
          mutated.insert(place, mutated.substr(random() % mutated.size(), random() % 30));
          break;
        default:
          mutated[place] = "0123456789-{}[]\",:. ntf"[random() % 23];
          break;
      }
      if (mutated.empty()) mutated = "x";
    }
    try {
      const BpeTokenizer tokenizer(parse_tokenizer_json(mutated, "mutated"));
      const std::string sample = "int main() { return 0; }\n\xFF";
      EXPECT_EQ(tokenizer.decode(tokenizer.encode(sample)), sample);
      ++num_loaded;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(num_loaded, 10);
  EXPECT_LT(num_loaded, 2900);
}

TEST(TokenizerJson, DeepNestingIsAnError) {
  const std::string deep = "{\"model\":" + std::string(100000, '[') + std::string(100000, ']') + "}";
  EXPECT_THROW(parse_tokenizer_json(deep, "deep"), Error);
}

TEST(LoadTokenizer, TakesAFileOrItsDirectory) {
  const ScratchDirectory scratch;
  write_text_file(scratch / "tokenizer.json", tokenizer_json(golden_model()));
  const auto from_directory = load_tokenizer(scratch.path());
  const auto from_file = load_tokenizer(scratch / "tokenizer.json");
  EXPECT_EQ(from_directory->identity(), from_file->identity());
  EXPECT_EQ(from_directory->eod(), 0);
  EXPECT_EQ(from_directory->vocab_size(), 560);
  EXPECT_THAT([&] { load_tokenizer(scratch / "absent"); }, ThrowsMessage<Error>(HasSubstr("absent")));
}

TEST(LoadTokenizer, TheEndOfDocumentMayBeConfigured) {
  const ScratchDirectory scratch;
  BpeModel model = golden_model();
  model.added_tokens.push_back({"<|end|>", 560, true});
  model.tokens.emplace_back("<|end|>");
  write_text_file(scratch / "tokenizer.json", tokenizer_json(model));
  EXPECT_EQ(load_tokenizer(scratch.path())->eod(), 0);
  write_text_file(scratch / "tokenizer_config.json", R"({"eos_token": "<|end|>"})");
  EXPECT_EQ(load_tokenizer(scratch.path())->eod(), 560);
  write_text_file(scratch / "tokenizer_config.json", R"({"eos_token": {"content": "<|end|>"}})");
  EXPECT_EQ(load_tokenizer(scratch.path())->eod(), 560);
  write_text_file(scratch / "tokenizer_config.json", R"({"eos_token": "</s>"})");
  EXPECT_THAT([&] { load_tokenizer(scratch.path()); }, ThrowsMessage<Error>(HasSubstr("'</s>'")));
  write_text_file(scratch / "tokenizer_config.json", R"({"eos_token": 5})");
  EXPECT_THAT([&] { load_tokenizer(scratch.path()); },
              ThrowsMessage<Error>(HasSubstr("tokenizer_config.json")));
}

}  // namespace
}  // namespace megalith
