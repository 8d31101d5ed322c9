// Plans of blocks with known lives: nothing overlaps, and little is lost.

#include "megalith/core/memory/arena_plan.h"

#include <algorithm>
#include <chrono>
#include <random>

#include <gtest/gtest.h>

namespace megalith {
namespace {

void expect_valid(const std::vector<BlockLife>& blocks, const ArenaPlan& plan) {
  ASSERT_EQ(plan.offsets.size(), blocks.size());
  int64_t sum = 0, peak = 0, end = 0;
  for (size_t i = 0; i < blocks.size(); ++i) {
    int64_t beside = 0;  // what lives when this one begins
    for (size_t j = 0; j < blocks.size(); ++j) {
      if (blocks[j].begin <= blocks[i].begin && blocks[i].begin < blocks[j].end) beside += blocks[j].bytes;
      if (j <= i || blocks[i].end <= blocks[j].begin || blocks[j].end <= blocks[i].begin) continue;
      ASSERT_TRUE(plan.offsets[i] + blocks[i].bytes <= plan.offsets[j] ||
                  plan.offsets[j] + blocks[j].bytes <= plan.offsets[i])
          << i << " and " << j << " live at the same time and share memory";
    }
    ASSERT_GE(plan.offsets[i], 0);
    ASSERT_EQ(plan.offsets[i] % 64, 0);
    sum += blocks[i].bytes;
    peak = std::max(peak, beside);
    end = std::max(end, plan.offsets[i] + blocks[i].bytes);
  }
  EXPECT_EQ(plan.total_bytes, end);
  EXPECT_EQ(peak_bytes(blocks), peak);
  EXPECT_GE(plan.total_bytes, peak);
  EXPECT_LE(plan.total_bytes, sum);
}

TEST(ArenaPlan, NothingNeedsNothing) {
  const ArenaPlan plan = plan_arena({});
  EXPECT_EQ(plan.total_bytes, 0);
  EXPECT_EQ(peak_bytes({}), 0);
}

TEST(ArenaPlan, BlocksThatDoNotMeetShareMemory) {
  const std::vector<BlockLife> blocks = {
      {.bytes = 640, .begin = 0, .end = 3}, {.bytes = 128, .begin = 1}, {.bytes = 640, .begin = 3, .end = 4}};
  const ArenaPlan plan = plan_arena(blocks);
  expect_valid(blocks, plan);
  EXPECT_EQ(plan.total_bytes, 768);
  EXPECT_EQ(plan.offsets[0], plan.offsets[2]);
}

// As a forward and its backward do: what was taken last goes first. Then the peak is enough.
TEST(ArenaPlan, AStackNeedsItsPeakAlone) {
  std::mt19937 random(3);
  std::vector<BlockLife> blocks;
  constexpr int64_t kDepth = 200;
  for (int64_t i = 0; i < kDepth; ++i)
    blocks.push_back(
        {.bytes = 64 * (1 + static_cast<int64_t>(random() % 1000)), .begin = i, .end = 2 * kDepth - i});
  const ArenaPlan plan = plan_arena(blocks);
  expect_valid(blocks, plan);
  EXPECT_EQ(plan.total_bytes, peak_bytes(blocks));
}

TEST(ArenaPlan, AnyLivesAreKeptApart) {
  double worst = 1;
  for (unsigned seed = 0; seed < 60; ++seed) {
    std::mt19937 random(seed);
    const int64_t num_blocks = 1 + static_cast<int64_t>(random() % 250);
    std::vector<BlockLife> blocks;
    for (int64_t i = 0; i < num_blocks; ++i) {
      const auto begin = static_cast<int64_t>(random() % 300);
      const auto moments = 1 + static_cast<int64_t>(random() % (1 + random() % 300));
      const auto bytes = 64 * (1 + static_cast<int64_t>(random() % (1 + random() % 5000)));
      blocks.push_back(
          {.bytes = bytes, .begin = begin, .end = random() % 9 == 0 ? BlockLife::kForever : begin + moments});
    }
    const ArenaPlan plan = plan_arena(blocks);
    expect_valid(blocks, plan);
    worst = std::max(worst, static_cast<double>(plan.total_bytes) / static_cast<double>(peak_bytes(blocks)));
  }
  std::printf("arbitrary lives: %.3f of the peak at worst\n", worst);
  EXPECT_LT(worst, 1.25);
}

// Layers that keep some blocks for their backward and use others meanwhile, microbatch after microbatch.
std::vector<BlockLife> transformer_step(int num_layers, int num_microbatches) {
  std::vector<BlockLife> blocks;
  const auto take = [&](double mib) {
    blocks.push_back({.bytes = static_cast<int64_t>(mib * (1 << 20)) / 64 * 64,
                      .begin = static_cast<int64_t>(blocks.size())});
    return blocks.size() - 1;
  };
  const auto give_back = [&](size_t block) { blocks[block].end = static_cast<int64_t>(blocks.size()); };
  for (int microbatch = 0; microbatch < num_microbatches; ++microbatch) {
    std::vector<std::vector<size_t>> saved;
    size_t residual = take(16);
    for (int layer = 0; layer < num_layers; ++layer) {
      std::vector<size_t> kept = {take(16), take(0.03), take(32), take(16), take(0.5)};
      const size_t attention = take(16);
      const size_t next = take(16);
      give_back(attention);
      kept.push_back(take(16));
      kept.push_back(take(88));
      const size_t product = take(44);
      const size_t output = take(16);
      give_back(product);
      kept.push_back(residual);
      kept.push_back(next);
      residual = output;
      saved.push_back(kept);
    }
    const size_t logits = take(250);
    size_t gradient = take(16);
    give_back(logits);
    give_back(residual);
    while (!saved.empty()) {
      const size_t wide = take(88), narrow = take(44), next = take(16);
      give_back(gradient);
      give_back(wide);
      give_back(narrow);
      gradient = next;
      for (const size_t block : saved.back()) give_back(block);
      saved.pop_back();
    }
    give_back(gradient);
  }
  return blocks;
}

TEST(ArenaPlan, LayersAndTheirBackwardNeedHardlyMoreThanThePeak) {
  const std::vector<BlockLife> blocks = transformer_step(24, 3);
  const ArenaPlan plan = plan_arena(blocks);
  expect_valid(blocks, plan);
  const double ratio = static_cast<double>(plan.total_bytes) / static_cast<double>(peak_bytes(blocks));
  std::printf("a step of 24 layers: %.4f of the peak\n", ratio);
  EXPECT_LT(ratio, 1.02);
}

TEST(ArenaPlan, LargeStepsArePlannedInSeconds) {
  const std::vector<BlockLife> blocks = transformer_step(52, 40);
  const auto begin = std::chrono::steady_clock::now();
  const ArenaPlan plan = plan_arena(blocks);
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  EXPECT_GT(blocks.size(), 25000u);
  EXPECT_LT(static_cast<double>(plan.total_bytes), 1.02 * static_cast<double>(peak_bytes(blocks)));
  std::printf("%zu blocks in %.2f s\n", blocks.size(), seconds.count());
  EXPECT_LT(seconds.count(), 10);
}

}  // namespace
}  // namespace megalith
