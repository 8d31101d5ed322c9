// Segments that grow by pages, on pages that are none.

#include "megalith/core/memory/segment_blocks.h"

#include <algorithm>
#include <map>
#include <random>

#include "megalith/core/memory/cached_blocks.h"

#include "tests/core/counted_pages.h"

namespace megalith {
namespace {

using testing::CountedPages;

constexpr uintptr_t kBase = uintptr_t{1} << 40;
constexpr int64_t kPage = 64;

TEST(ExpandableSegment, FreedNeighboursServeAnotherSize) {
  CountedPages pages(kPage, 100, kBase);
  ExpandableSegment segment(pages, 100 * kPage);
  std::byte* a = segment.take(40);
  std::byte* b = segment.take(40);
  std::byte* c = segment.take(40);
  EXPECT_EQ(b, a + 40);
  EXPECT_EQ(c, a + 80);
  EXPECT_EQ(segment.mapped_bytes(), 2 * kPage);
  segment.give_back(a, 40);
  segment.give_back(b, 40);
  EXPECT_EQ(segment.take(75), a);
  EXPECT_EQ(segment.take(5), a + 75) << "the smallest stretch that is large enough";
  EXPECT_EQ(segment.take(8), c + 40);
  EXPECT_EQ(segment.free_bytes(), 0);
  EXPECT_EQ(segment.take(10), a + 2 * kPage);
}

TEST(ExpandableSegment, GrowsAtWhatIsFreeThereAndReturnsWholePages) {
  CountedPages pages(kPage, 4, kBase);
  ExpandableSegment segment(pages, 100 * kPage);
  std::byte* a = segment.take(100);
  std::byte* b = segment.take(100);  // 28 of it lie in a's last page
  EXPECT_EQ(pages.num_mapped(), 4);
  segment.give_back(a, 100);
  EXPECT_EQ(segment.take(150), nullptr) << "100 + 56 are free, in two pieces, and no page is left";
  segment.trim(1);
  EXPECT_EQ(pages.num_mapped(), 3) << "the second page of a holds the beginning of b";
  EXPECT_EQ(segment.take(101), b + 100) << "56 behind b and the page that a had";
  EXPECT_EQ(segment.take(36), a + 64);
  segment.trim(1000);
  EXPECT_EQ(pages.num_mapped(), 4) << "no page is free as a whole";
}

TEST(ExpandableSegment, AgreesWithAModel) {
  for (const unsigned seed : {1u, 2u, 3u}) {
    std::mt19937 random(seed);
    constexpr int64_t kPages = 60;
    CountedPages pages(kPage, kPages, kBase);
    int64_t used = 0, num_refused = 0;
    {
      ExpandableSegment segment(pages, 8 * kPages * kPage);
      std::map<std::byte*, int64_t> blocks;
      for (int round = 0; round < 30000; ++round) {
        const unsigned dice = random() % 100;
        if (dice == 0) {
          segment.trim(static_cast<int64_t>(random() % 1000));
        } else if (dice < 52 || blocks.empty()) {
          const int64_t bytes = 1 + static_cast<int64_t>(random() % (random() % 8 == 0 ? 900 : 90));
          std::byte* data = segment.take(bytes);
          if (data == nullptr) {
            ++num_refused;
            EXPECT_GT(pages.num_mapped() + (bytes + kPage - 1) / kPage, kPages);
            continue;
          }
          ASSERT_TRUE(pages.covers(data, bytes));
          const auto next = blocks.lower_bound(data);
          ASSERT_TRUE(next == blocks.end() || data + bytes <= next->first);
          ASSERT_TRUE(next == blocks.begin() || std::prev(next)->first + std::prev(next)->second <= data);
          blocks[data] = bytes;
          used += bytes;
        } else {
          auto block = blocks.begin();
          std::advance(block, random() % blocks.size());
          segment.give_back(block->first, block->second);
          used -= block->second;
          blocks.erase(block);
        }
        ASSERT_EQ(segment.mapped_bytes(), pages.num_mapped() * kPage);
        ASSERT_EQ(segment.free_bytes() + used, segment.mapped_bytes());
      }
      EXPECT_GT(num_refused, 100) << "the bound was reached";
      for (const auto& [data, bytes] : blocks) segment.give_back(data, bytes);
      segment.trim(segment.mapped_bytes());
      EXPECT_EQ(pages.num_mapped(), 0) << "all free stretches became one again";
      segment.take(10);
    }
    EXPECT_EQ(pages.num_mapped(), 0) << "the segment leaves nothing mapped";
  }
}

TEST(SegmentBlocks, SmallOnesHaveASegmentOfTheirOwn) {
  auto small = std::make_unique<CountedPages>(2 << 20, 1000, kBase);
  auto large = std::make_unique<CountedPages>(32 << 20, 1000, 2 * kBase);
  SegmentBlocks blocks(std::move(small), std::move(large), int64_t{1} << 36);
  for (const int64_t bytes : {0L, 1L, 512L, 513L, (1L << 20) - 1, 1L << 20, (1L << 20) + 1, 123456789L}) {
    const int64_t size = blocks.rounded(bytes);
    EXPECT_GE(size, std::max(bytes, 1L));
    EXPECT_LE(size, bytes + std::max<int64_t>(512, bytes / 16));
    EXPECT_EQ(blocks.rounded(size), size);
    std::byte* data = blocks.take(size);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) >= 2 * kBase, bytes >= (1 << 20) - 1) << bytes;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(data) % 256, 0u);
    blocks.give_back(data, size);
  }
  EXPECT_GT(blocks.held_bytes(), 123456789);
  blocks.trim(blocks.held_bytes());
  EXPECT_EQ(blocks.held_bytes(), 0);
}

// Layers of experts whose rows differ from layer to layer and step to step: what a step of them takes and
// gives back, in order.
int64_t run_expert_steps(BlockStore& store, int num_steps) {
  constexpr int kLayers = 24;
  std::mt19937 random(7);
  int64_t used = 0, peak = 0;
  const auto take = [&](double bytes) {
    const int64_t size = store.rounded(static_cast<int64_t>(bytes));
    std::byte* data = store.take(size);
    EXPECT_NE(data, nullptr);
    used += size;
    peak = std::max(peak, used);
    return std::pair{data, size};
  };
  const auto give_back = [&](const std::pair<std::byte*, int64_t>& block) {
    store.give_back(block.first, block.second);
    used -= block.second;
  };
  constexpr double kMiB = 1 << 20;
  for (int step = 0; step < num_steps; ++step) {
    std::vector<std::vector<std::pair<std::byte*, int64_t>>> saved;
    for (int layer = 0; layer < kLayers; ++layer) {
      const double rows = 0.5 + static_cast<double>(random() % 1000) / 1000;  // of the mean
      std::vector<std::pair<std::byte*, int64_t>> kept;
      for (const double width : {64.0, 96.0, 64.0, 64.0}) kept.push_back(take(width * kMiB));  // dense
      const auto sorted = take(512 * kMiB * rows);
      kept.push_back(take(384 * kMiB * rows));
      kept.push_back(take(192 * kMiB * rows));
      give_back(take(512 * kMiB * rows));
      kept.push_back(sorted);
      saved.push_back(kept);
    }
    while (!saved.empty()) {
      const double rows = static_cast<double>(saved.back().back().second) / (512 * kMiB);
      const auto gradient = take(512 * kMiB * rows);
      give_back(take(384 * kMiB * rows));
      for (const auto& block : saved.back()) give_back(block);
      give_back(gradient);
      saved.pop_back();
    }
  }
  return peak;
}

TEST(SegmentBlocks, HoldLittleMoreThanThePeakWhereSizesVary) {
  SegmentBlocks segments(std::make_unique<CountedPages>(2 << 20, 100000, kBase),
                         std::make_unique<CountedPages>(32 << 20, 100000, 2 * kBase), int64_t{1} << 40);
  const auto peak = static_cast<double>(run_expert_steps(segments, 40));
  EXPECT_LT(static_cast<double>(segments.held_bytes()), 1.1 * peak);

  uintptr_t next = kBase;
  CachedBlocks cached({.map =
                           [&](int64_t bytes) {
                             next += static_cast<uintptr_t>(bytes);
                             return reinterpret_cast<std::byte*>(next);
                           },
                       .unmap = [](std::byte*, int64_t) {}});
  run_expert_steps(cached, 40);
  EXPECT_GT(static_cast<double>(cached.held_bytes()), 1.5 * peak) << "the pattern is one that needs segments";
  std::printf("held %.3f of the peak; blocks that stay what they are: %.3f\n",
              static_cast<double>(segments.held_bytes()) / peak,
              static_cast<double>(cached.held_bytes()) / peak);
}

}  // namespace
}  // namespace megalith
