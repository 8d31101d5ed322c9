#include "megalith/io/xxh64.h"

#include <random>
#include <string>
#include <string_view>
#include <vector>

#include <gtest/gtest.h>

namespace megalith {
namespace {

uint64_t hash_text(std::string_view text) {
  return xxh64(std::as_bytes(std::span(text)));
}

// Values of the reference implementation (xxhsum -H1).
TEST(Xxh64, AgreesWithTheReferenceImplementation) {
  EXPECT_EQ(hash_text(""), 0xef46db3751d8e999u);
  EXPECT_EQ(hash_text("a"), 0xd24ec4f1a98c6e5bu);
  EXPECT_EQ(hash_text("abc"), 0x44bc2cf5ad770999u);
  EXPECT_EQ(hash_text("Nobody inspects the spammish repetition"), 0xfbcea83c8a378bf1u);
  EXPECT_EQ(hash_text("The quick brown fox jumps over the lazy dog"), 0x0b242d361fda71bcu);
}

TEST(Xxh64, DoesNotDependOnHowTheBytesAreCut) {
  std::mt19937 random(3);
  std::vector<std::byte> bytes(1000);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
  for (int round = 0; round < 200; ++round) {
    const std::span<const std::byte> all = std::span(bytes).first(random() % bytes.size());
    Xxh64 pieces;
    for (size_t at = 0; at < all.size();) {
      const size_t count = std::min<size_t>(random() % 70, all.size() - at);
      pieces.update(all.subspan(at, count));
      at += count;
    }
    EXPECT_EQ(pieces.digest(), xxh64(all));
  }
}

TEST(Xxh64, SeesEveryBit) {
  std::string text(77, 'x');
  const uint64_t before = hash_text(text);
  for (char& c : text) {
    c ^= 4;
    EXPECT_NE(hash_text(text), before);
    c ^= 4;
  }
}

}  // namespace
}  // namespace megalith
