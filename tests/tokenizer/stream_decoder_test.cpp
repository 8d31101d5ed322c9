#include <random>

#include <gtest/gtest.h>

#include "megalith/tokenizer/bpe_tokenizer.h"

#include "tests/tokenizer/golden.h"

namespace megalith {
namespace {

int32_t byte_id(const BpeTokenizer& tokenizer, char byte) {
  return tokenizer.encode(std::string(1, byte)).at(0);
}

TEST(StreamDecoder, HoldsBackACharacterUntilItIsWhole) {
  const BpeTokenizer tokenizer(golden_model());
  StreamDecoder stream(tokenizer);
  const std::string smile = "🙂";
  for (size_t i = 0; i + 1 < smile.size(); ++i) EXPECT_EQ(stream.push(byte_id(tokenizer, smile[i])), "");
  EXPECT_EQ(stream.push(byte_id(tokenizer, smile[3])), smile);
  EXPECT_EQ(stream.push(byte_id(tokenizer, 'a')), "a");
  EXPECT_EQ(stream.finish(), "");
}

TEST(StreamDecoder, PassesOnWhatCannotBecomeACharacter) {
  const BpeTokenizer tokenizer(golden_model());
  StreamDecoder stream(tokenizer);
  EXPECT_EQ(stream.push(byte_id(tokenizer, '\x80')), "\x80");
  EXPECT_EQ(stream.push(byte_id(tokenizer, '\xE3')), "");
  EXPECT_EQ(stream.push(byte_id(tokenizer, 'a')),
            "\xE3"
            "a");
  EXPECT_EQ(stream.push(byte_id(tokenizer, '\xF0')), "");
  EXPECT_EQ(stream.finish(), "\xF0");
  EXPECT_EQ(stream.finish(), "");
}

TEST(StreamDecoder, LosesNothingAndCutsNothing) {
  const BpeTokenizer tokenizer(golden_model());
  std::mt19937 random(5);
  for (int round = 0; round < 500; ++round) {
    const std::string text = round % 2 ? random_text(random, 40) : random_bytes(random, 60);
    StreamDecoder stream(tokenizer);
    std::string joined;
    size_t num_pushed = 0;
    for (const int32_t id : tokenizer.encode(text)) {
      joined += stream.push(id);
      num_pushed += tokenizer.decode({&id, 1}).size();
      ASSERT_LE(num_pushed, joined.size() + 3);
      for (size_t back = 1; back <= std::min<size_t>(3, joined.size()); ++back)
        ASSERT_LE(decode_utf8(text, joined.size() - back).num_bytes, back) << "cut inside a character";
    }
    joined += stream.finish();
    ASSERT_EQ(joined, text);
  }
}

}  // namespace
}  // namespace megalith
