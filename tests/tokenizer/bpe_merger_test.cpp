#include "megalith/tokenizer/bpe_merger.h"

#include <random>
#include <vector>

#include <gtest/gtest.h>

namespace megalith {
namespace {

/// The definition: the merge of lowest rank, leftmost, until none is left.
std::vector<int32_t> merge_by_definition(std::vector<int32_t> ids, const std::vector<BpeMerge>& merges) {
  while (true) {
    size_t best_rank = merges.size();
    size_t best_index = 0;
    for (size_t i = 0; i + 1 < ids.size(); ++i)
      for (size_t rank = 0; rank < best_rank; ++rank)
        if (merges[rank].left == ids[i] && merges[rank].right == ids[i + 1]) {
          best_rank = rank;
          best_index = i;
        }
    if (best_rank == merges.size()) return ids;
    ids[best_index] = merges[best_rank].result;
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(best_index) + 1);
  }
}

/// Distinct pairs of known symbols, in no order of their ids.
std::vector<BpeMerge> random_merges(std::mt19937& random, int num_symbols, int num_merges) {
  std::vector<BpeMerge> merges;
  for (int32_t result = num_symbols; result < num_symbols + num_merges; ++result) {
    const auto left = static_cast<int32_t>(random() % static_cast<uint32_t>(result));
    const auto right = static_cast<int32_t>(random() % static_cast<uint32_t>(result));
    bool is_new = true;
    for (const BpeMerge& merge : merges) is_new = is_new && (merge.left != left || merge.right != right);
    if (is_new) merges.push_back({left, right, result});
  }
  std::shuffle(merges.begin(), merges.end(), random);
  return merges;
}

TEST(BpeMerger, FollowsTheDefinitionForShortAndLongPieces) {
  std::mt19937 random(3);
  BpeMerger::Scratch scratch;
  int num_shortened = 0;
  for (int round = 0; round < 400; ++round) {
    const auto merges = random_merges(random, 3, 20);
    const BpeMerger merger(merges);
    std::vector<int32_t> ids(random() % 150);  // both sides of the switch from scans to the heap
    for (int32_t& id : ids) id = static_cast<int32_t>(random() % 3);
    const auto expected = merge_by_definition(ids, merges);
    num_shortened += expected.size() < ids.size();
    merger.merge(ids, scratch);
    ASSERT_EQ(ids, expected) << "round " << round;
  }
  EXPECT_GT(num_shortened, 300);
}

TEST(BpeMerger, LongRunsStayFast) {
  const std::vector<BpeMerge> merges = {{0, 0, 1}, {1, 1, 2}, {2, 2, 3}};
  std::vector<int32_t> ids(1 << 20, 0);
  BpeMerger::Scratch scratch;
  BpeMerger(merges).merge(ids, scratch);
  EXPECT_EQ(ids, std::vector<int32_t>((1 << 20) / 8, 3));
}

TEST(BpeMerger, WithoutMergesNothingChanges) {
  std::vector<int32_t> ids = {5, 6, 5};
  BpeMerger::Scratch scratch;
  BpeMerger({}).merge(ids, scratch);
  EXPECT_EQ(ids, (std::vector<int32_t>{5, 6, 5}));
}

}  // namespace
}  // namespace megalith
