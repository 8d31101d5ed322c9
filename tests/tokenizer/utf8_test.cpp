#include "megalith/tokenizer/utf8.h"

#include <gtest/gtest.h>

namespace megalith {
namespace {

TEST(Utf8, EveryScalarValueRoundTrips) {
  for (uint32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    std::string text;
    append_utf8(code_point, text);
    const Utf8Char character = decode_utf8(text, 0);
    if (code_point >= 0xD800 && code_point <= 0xDFFF) {
      ASSERT_EQ(character.num_bytes, 0u) << "surrogate " << code_point;
    } else {
      ASSERT_EQ(character.num_bytes, text.size()) << code_point;
      ASSERT_EQ(character.code_point, code_point);
    }
  }
}

TEST(Utf8, RefusesWhatTheStandardRefuses) {
  for (const char* text :
       {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x9F\xBF", "\xF0\x8F\xBF\xBF", "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80", "\xFF", "\xE3\x80", "\xE3\x28\x80", "\xC3"})
    EXPECT_EQ(decode_utf8(text, 0).num_bytes, 0u) << testing::PrintToString(text);
  EXPECT_TRUE(is_utf8("aé漢🙂"));
  EXPECT_FALSE(is_utf8("aé\xFF"));
}

TEST(Utf8, IncompleteSuffixIsExactlyAProperPrefixOfACharacter) {
  for (const uint32_t code_point : {0x41u, 0xE9u, 0x800u, 0xD7FFu, 0xE000u, 0x6F22u, 0x10000u, 0x10FFFFu}) {
    std::string character;
    append_utf8(code_point, character);
    for (size_t length = 0; length <= character.size(); ++length) {
      const size_t expected = length == character.size() ? 0 : length;
      EXPECT_EQ(incomplete_utf8_suffix("ab" + character.substr(0, length)), expected);
      EXPECT_EQ(incomplete_utf8_suffix("é" + character.substr(0, length)), expected);
    }
  }
  for (const char* text :
       {"", "\x80", "\xE3\x80\x80\x80", "\xC0", "\xED\xA0", "\xF4\x90", "\xFF", "\xE0\x80"})
    EXPECT_EQ(incomplete_utf8_suffix(text), 0u) << testing::PrintToString(text);
}

}  // namespace
}  // namespace megalith
