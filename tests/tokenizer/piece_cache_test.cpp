#include "megalith/tokenizer/piece_cache.h"

#include <random>
#include <unordered_map>

#include <gtest/gtest.h>

namespace megalith {
namespace {

std::vector<int32_t> ids_for(std::mt19937& random, const std::string& piece) {
  std::vector<int32_t> ids(1 + random() % piece.size());
  for (int32_t& id : ids) id = static_cast<int32_t>(random() >> 1);
  return ids;
}

TEST(PieceCache, ReturnsWhatWasInserted) {
  std::mt19937 random(4);
  PieceCache cache;
  std::unordered_map<std::string, std::vector<int32_t>> reference;
  for (int i = 0; i < 20000; ++i) {
    // Few letters, so that pieces share beginnings and ends; zeros, so that padding is not taken for text.
    std::string piece(1 + random() % 40, 0);
    for (char& c : piece) c = static_cast<char>(random() % 3);
    std::vector<int32_t> found = {7};
    const auto known = reference.find(piece);
    ASSERT_EQ(cache.find(piece, found), known != reference.end());
    if (known == reference.end()) {
      const auto ids = ids_for(random, piece);
      cache.insert(piece, ids);
      reference.emplace(piece, ids);
    } else {
      found.erase(found.begin());  // what was there before stays
      ASSERT_EQ(found, known->second);
    }
  }
}

TEST(PieceCache, EmptiesItselfAndStaysRight) {
  PieceCache cache;
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < 200000; ++i) {
    const std::string piece = std::to_string(i);
    cache.insert(piece, {{i}});
    ids.clear();
    ASSERT_TRUE(cache.find(piece, ids));
    ASSERT_EQ(ids, std::vector<int32_t>{i});
  }
  ids.clear();
  EXPECT_FALSE(cache.find("0", ids));  // gone with the first emptying
  EXPECT_TRUE(ids.empty());
}

TEST(PieceCache, KeepsNoHugePieces) {
  PieceCache cache;
  const std::string huge(100000, 'a');
  cache.insert(huge, {{1}});
  std::vector<int32_t> ids;
  EXPECT_FALSE(cache.find(huge, ids));
}

}  // namespace
}  // namespace megalith
