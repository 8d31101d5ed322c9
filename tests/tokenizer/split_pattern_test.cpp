#include "megalith/tokenizer/split_pattern.h"

#include <string>
#include <vector>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/tokenizer/unicode_class.h"

#include "tests/tokenizer/golden.h"

namespace megalith {
namespace {

using testing::ElementsAre;

constexpr SplitPattern kAll[] = {SplitPattern::kGpt2, SplitPattern::kLlama3, SplitPattern::kQwen2};

std::vector<std::string> pieces(SplitPattern pattern, std::string_view text) {
  std::vector<std::string> result;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = next_piece(pattern, text, begin);
    EXPECT_GT(end, begin);
    EXPECT_LE(end, text.size());
    if (end <= begin || end > text.size()) break;
    result.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return result;
}

// The expected pieces are read off the regular expressions.
TEST(SplitPattern, Gpt2) {
  const auto split = [](const char* text) { return pieces(SplitPattern::kGpt2, text); };
  EXPECT_THAT(split("Hello world's end"), ElementsAre("Hello", " world", "'s", " end"));
  EXPECT_THAT(split("I'LL we'll 'x"), ElementsAre("I", "'", "LL", " we", "'ll", " '", "x"));
  EXPECT_THAT(split("a  b\n\n  c "), ElementsAre("a", " ", " b", "\n\n ", " c", " "));
  EXPECT_THAT(split("x\n\ny\t z"), ElementsAre("x", "\n", "\n", "y", "\t", " z"));
  EXPECT_THAT(split("f(x)->y; 12345 a1"), ElementsAre("f", "(", "x", ")->", "y", ";", " 12345", " a", "1"));
  EXPECT_THAT(split("é漢字\xE3\x80\x80\xE3\x80\x80½"),
              ElementsAre("é漢字", "\xE3\x80\x80", "\xE3\x80\x80", "½"));
}

TEST(SplitPattern, Llama3) {
  const auto split = [](const char* text) { return pieces(SplitPattern::kLlama3, text); };
  EXPECT_THAT(split("I'LL it'S don'\xC5\xBF"), ElementsAre("I", "'LL", " it", "'S", " don", "'\xC5\xBF"));
  EXPECT_THAT(split("1234567 89"), ElementsAre("123", "456", "7", " ", "89"));
  EXPECT_THAT(split("f(x)->y;\n\n  z"), ElementsAre("f", "(x", ")->", "y", ";\n\n", " ", " z"));
  EXPECT_THAT(split("a \n \n  b\n"), ElementsAre("a", " \n \n", " ", " b", "\n"));
  EXPECT_THAT(split("\tint _x $ !"), ElementsAre("\tint", " _", "x", " $", " !"));
}

TEST(SplitPattern, Qwen2TakesDigitsOneByOne) {
  EXPECT_THAT(pieces(SplitPattern::kQwen2, "a 12½"), ElementsAre("a", " ", "1", "2", "½"));
}

TEST(SplitPattern, BrokenUtf8IsOneOtherCharacterAByte) {
  EXPECT_THAT(pieces(SplitPattern::kGpt2, "a\xFF\x80 \xE3\x80z"),
              ElementsAre("a", "\xFF\x80", " \xE3\x80", "z"));
}

TEST(SplitPattern, RegexesAreKnownByTheirSpelling) {
  for (const SplitPattern pattern : kAll)
    EXPECT_EQ(find_split_pattern(split_pattern_regex(pattern)), pattern);
  EXPECT_EQ(find_split_pattern("\\s+"), std::nullopt);
}

TEST(SplitPattern, PiecesCoverAnyText) {
  std::mt19937 random(1);
  for (int round = 0; round < 2000; ++round) {
    const std::string text = round % 2 ? random_text(random, 30) : random_bytes(random, 30);
    for (const SplitPattern pattern : kAll) {
      std::string joined;
      for (const std::string& piece : pieces(pattern, text)) joined += piece;
      ASSERT_EQ(joined, text);
    }
  }
}

TEST(SplitPattern, SafeCutChangesNoPiece) {
  EXPECT_EQ(safe_cut("int a;\nint b;\n\nint c;"), 7u);  // behind the empty line the pieces would change
  EXPECT_EQ(safe_cut("\na"), 0u);
  EXPECT_EQ(safe_cut(""), 0u);
  std::mt19937 random(2);
  int num_cuts = 0;
  for (int round = 0; round < 5000; ++round) {
    const std::string text = random_text(random, 20);
    const size_t cut = safe_cut(text);
    if (cut == 0) continue;
    ++num_cuts;
    for (const SplitPattern pattern : kAll) {
      auto halves = pieces(pattern, std::string_view(text).substr(0, cut));
      for (const auto& piece : pieces(pattern, std::string_view(text).substr(cut))) halves.push_back(piece);
      ASSERT_EQ(halves, pieces(pattern, text));
    }
  }
  EXPECT_GT(num_cuts, 100);
}

TEST(UnicodeClass, MembersOfEachClass) {
  const auto class_of = [](const char* text) { return classify(text, 0).char_class; };
  for (const char* letter : {"a", "Z", "é", "ß", "ª", "漢", "한", "ā", "𝐀", "ー"})
    EXPECT_EQ(class_of(letter), CharClass::kLetter);
  for (const char* number : {"0", "9", "½", "²", "Ⅷ", "٣", "〇", "𝟘"})
    EXPECT_EQ(class_of(number), CharClass::kNumber);
  for (const char* space :
       {" ", "\t", "\n", "\v", "\f", "\r", "\xC2\x85", "\xC2\xA0", "\xE2\x80\xA8", "\xE3\x80\x80"})
    EXPECT_EQ(class_of(space), CharClass::kSpace);
  for (const char* other : {"_", "'", "\x1C", "🙂", "\xCC\x81", "\xE2\x80\x8B", "\x7F"})
    EXPECT_EQ(class_of(other), CharClass::kOther);
}

}  // namespace
}  // namespace megalith
