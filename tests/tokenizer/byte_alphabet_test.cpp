#include "megalith/tokenizer/byte_alphabet.h"

#include <set>

#include <gtest/gtest.h>

namespace megalith {
namespace {

TEST(ByteAlphabet, KnownSpellings) {
  EXPECT_EQ(bytes_to_alphabet(" the\n"), "ĠtheĊ");
  EXPECT_EQ(bytes_to_alphabet("é"), "Ã©");
  EXPECT_EQ(bytes_to_alphabet(std::string(1, '\0')), "Ā");
  EXPECT_EQ(byte_to_code_point(0xAD), 0x143u);  // the last of the 68 bytes that are moved
}

TEST(ByteAlphabet, EveryByteHasItsOwnCharacter) {
  std::set<uint32_t> seen;
  std::string all;
  for (int byte = 0; byte < 256; ++byte) {
    seen.insert(byte_to_code_point(static_cast<uint8_t>(byte)));
    all += static_cast<char>(byte);
  }
  EXPECT_EQ(seen.size(), 256u);
  EXPECT_EQ(alphabet_to_bytes(bytes_to_alphabet(all)), all);
}

TEST(ByteAlphabet, OtherCharactersHaveNoByte) {
  EXPECT_EQ(alphabet_to_bytes("a b"), std::nullopt);
  EXPECT_EQ(alphabet_to_bytes("漢"), std::nullopt);
  EXPECT_EQ(alphabet_to_bytes("\xFF"), std::nullopt);
  EXPECT_EQ(alphabet_to_bytes("\xC2\xAD"), std::nullopt);
}

}  // namespace
}  // namespace megalith
