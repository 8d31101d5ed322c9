#include "megalith/tokenizer/bpe_tokenizer.h"

#include <random>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include "megalith/base/error.h"
#include "megalith/base/files.h"

#include "tests/tokenizer/golden.h"

namespace megalith {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Property;
using testing::ThrowsMessage;

constexpr SplitPattern kAll[] = {SplitPattern::kGpt2, SplitPattern::kLlama3, SplitPattern::kQwen2};

/// The 256 bytes as ids 0-255, without merges.
BpeModel byte_model() {
  BpeModel model;
  for (int byte = 0; byte < 256; ++byte) model.tokens.emplace_back(1, static_cast<char>(byte));
  return model;
}

void add_token(BpeModel& model, const char* content, bool is_special) {
  model.added_tokens.push_back({content, static_cast<int32_t>(model.tokens.size()), is_special});
  model.tokens.emplace_back(content);
}

TEST(BpeTokenizer, EncodesAsHuggingFaceDoes) {
  const auto golden = nlohmann::json::parse(read_text_file(golden_file("golden_ids.json")));
  const auto texts = golden.at("texts").get<std::vector<std::string>>();
  ASSERT_GT(texts.size(), 100u);
  const char* names[] = {"gpt2", "llama3", "qwen2"};
  for (int i = 0; i < 3; ++i) {
    const BpeTokenizer tokenizer(golden_model(kAll[i]));
    const auto expected = golden.at(names[i]).get<std::vector<std::vector<int32_t>>>();
    const auto encoder = tokenizer.make_encoder();
    for (size_t t = 0; t < texts.size(); ++t) {
      EXPECT_EQ(tokenizer.encode(texts[t]), expected[t]) << names[i] << ": " << texts[t];
      std::vector<int32_t> ids;
      encoder->encode(texts[t], ids);
      EXPECT_EQ(ids, expected[t]) << "with the cache, " << names[i] << ": " << texts[t];
    }
  }
}

TEST(BpeTokenizer, AnyBytesRoundTrip) {
  std::mt19937 random(6);
  for (const SplitPattern pattern : kAll) {
    const BpeTokenizer tokenizer(golden_model(pattern));
    const auto encoder = tokenizer.make_encoder();
    for (int round = 0; round < 1000; ++round) {
      const std::string text = round % 2 ? random_text(random, 50) : random_bytes(random, random() % 300);
      std::vector<int32_t> ids;
      encoder->encode(text, ids);
      ASSERT_EQ(tokenizer.decode(ids), text);
      ASSERT_EQ(ids, tokenizer.encode(text));
    }
  }
}

TEST(BpeTokenizer, ThreadsShareOneTokenizer) {
  const BpeTokenizer tokenizer(golden_model());
  const std::string text = read_text_file(golden_file("corpus.txt"));
  const auto expected = tokenizer.encode(text);
  std::vector<std::vector<int32_t>> results(4);
  {
    std::vector<std::jthread> threads;
    for (auto& ids : results)
      threads.emplace_back([&tokenizer, &text, &ids] { tokenizer.make_encoder()->encode(text, ids); });
  }
  for (const auto& ids : results) EXPECT_EQ(ids, expected);
}

TEST(BpeTokenizer, EncoderAppends) {
  const BpeTokenizer tokenizer(byte_model());
  std::vector<int32_t> ids = {1};
  tokenizer.make_encoder()->encode("ab", ids);
  EXPECT_THAT(ids, ElementsAre(1, 'a', 'b'));
}

TEST(BpeTokenizer, SpecialTokensAreTextUnlessAskedFor) {
  BpeModel model = byte_model();
  add_token(model, "<s>", /*is_special=*/true);
  add_token(model, "<s>x", /*is_special=*/true);
  add_token(model, "[t]", /*is_special=*/false);
  const BpeTokenizer tokenizer(model);
  EXPECT_THAT(tokenizer.encode("<s>[t]a"), ElementsAre('<', 's', '>', 258, 'a'));
  EXPECT_THAT(tokenizer.encode("b<s><s>x[t]", SpecialTokens::kParse), ElementsAre('b', 256, 257, 258));
  EXPECT_EQ(tokenizer.decode({{256, 258, 'z'}}), "<s>[t]z");
  EXPECT_EQ(tokenizer.added_token_id("<s>x"), 257);
  EXPECT_EQ(tokenizer.added_token_id("a"), std::nullopt);
}

TEST(BpeTokenizer, WholePiecesWhenMergesAreIgnored) {
  BpeModel model = byte_model();
  model.tokens.emplace_back("abc");  // no merge leads to it
  EXPECT_THAT(BpeTokenizer(model).encode("abc"), ElementsAre('a', 'b', 'c'));
  model.ignore_merges = true;
  EXPECT_THAT(BpeTokenizer(model).encode("abc abcd"), ElementsAre(256, ' ', 'a', 'b', 'c', 'd'));
}

TEST(BpeTokenizer, FindsTheEndOfDocument) {
  BpeModel model = byte_model();
  EXPECT_EQ(BpeTokenizer(model).eod(), -1);
  add_token(model, "<only>", /*is_special=*/true);
  EXPECT_EQ(BpeTokenizer(model).eod(), 256);
  add_token(model, "<other>", /*is_special=*/true);
  EXPECT_EQ(BpeTokenizer(model).eod(), -1);
  EXPECT_EQ(BpeTokenizer(model, "<other>").eod(), 257);
  add_token(model, "<|endoftext|>", /*is_special=*/true);
  EXPECT_EQ(BpeTokenizer(model).eod(), 258);
  EXPECT_THAT([&] { BpeTokenizer(model, "</s>"); },
              ThrowsMessage<Error>(HasSubstr("'</s>' is not among the added tokens")));
}

TEST(BpeTokenizer, NamesWhatCannotBeDecoded) {
  BpeModel model = byte_model();
  model.tokens.emplace_back("");
  model.tokens.emplace_back("ab");
  const BpeTokenizer tokenizer(model);
  EXPECT_THAT([&] { tokenizer.decode({{258}}); },
              ThrowsMessage<Error>(HasSubstr("258 is not in the vocabulary of 258")));
  EXPECT_THAT([&] { tokenizer.decode({{-1}}); }, ThrowsMessage<Error>(HasSubstr("-1")));
  EXPECT_THAT([&] { tokenizer.decode({{256}}); }, ThrowsMessage<Error>(HasSubstr("256 is unused")));
  EXPECT_EQ(tokenizer.decode({{257}}), "ab");
}

TEST(BpeTokenizer, RefusesAVocabularyWithoutAByte) {
  BpeModel model = byte_model();
  model.tokens[0x41] = "AA";
  EXPECT_THAT([&] { BpeTokenizer{model}; }, ThrowsMessage<Error>(HasSubstr("0x41")));
}

TEST(BpeTokenizer, IdentityChangesWithTheMeaningOfTheIds) {
  const BpeModel model = golden_model();
  const std::string identity = BpeTokenizer(model).identity();
  EXPECT_EQ(BpeTokenizer(model).identity(), identity);
  EXPECT_EQ(BpeTokenizer(parse_tokenizer_json(tokenizer_json(model), "again")).identity(), identity);
  EXPECT_NE(BpeTokenizer(golden_model(SplitPattern::kQwen2)).identity(), identity);
  BpeModel other = model;
  std::swap(other.tokens[500], other.tokens[501]);
  EXPECT_NE(BpeTokenizer(other).identity(), identity);
  other = model;
  std::swap(other.merges[10], other.merges[11]);
  EXPECT_NE(BpeTokenizer(other).identity(), identity);
}

}  // namespace
}  // namespace megalith
