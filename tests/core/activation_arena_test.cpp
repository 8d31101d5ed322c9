// Steps that repeat lie where they lay; steps that do not are served all the same.

#include "megalith/core/memory/activation_arena.h"

#include <cstring>
#include <functional>
#include <map>
#include <random>

#include <gmock/gmock.h>

#include "megalith/core/exec.h"

#include "tests/core/counted_pages.h"

namespace megalith {
namespace {

using testing::CountedPages;

constexpr int64_t kMiB = 1 << 20;

TEST(ArenaSlab, BlocksLieWhereTheyAreAsked) {
  constexpr uintptr_t kBase = uintptr_t{1} << 40;
  auto source = std::make_unique<CountedPages>(100, 10, kBase);
  const CountedPages& pages = *source;
  ArenaSlab slab(std::move(source), 1950);
  EXPECT_EQ(slab.address_bytes(), 2000);
  EXPECT_EQ(slab.take_at(0, 10), nullptr) << "no memory";
  EXPECT_TRUE(slab.cover(250, 420));
  EXPECT_EQ(slab.mapped_bytes(), 300);
  EXPECT_TRUE(slab.cover(100, 601));
  EXPECT_EQ(slab.mapped_bytes(), 600);
  EXPECT_EQ(pages.num_mapped(), 6);
  auto* base = reinterpret_cast<std::byte*>(kBase);
  EXPECT_EQ(slab.take_at(140, 120), base + 140);
  EXPECT_EQ(slab.take_at(90, 20), nullptr) << "no memory below 100";
  EXPECT_EQ(slab.take_at(690, 20), nullptr) << "nor above 700";
  EXPECT_EQ(slab.take_at(259, 2), nullptr) << "the last byte is taken";
  EXPECT_EQ(slab.take_at(139, 2), nullptr) << "and the first";
  EXPECT_EQ(slab.take_at(260, 40), base + 260);
  EXPECT_EQ(slab.take_at(500, 1), base + 500);
  slab.give_back(base + 260);
  slab.trim();
  EXPECT_EQ(slab.mapped_bytes(), 300) << "pages 1, 2 and 5";
  EXPECT_TRUE(pages.covers(base + 140, 120));
  EXPECT_EQ(slab.take_at(260, 40), base + 260);
  EXPECT_EQ(slab.take_at(299, 2), nullptr);
  EXPECT_EQ(slab.used_end(), 501);
  EXPECT_FALSE(slab.cover(0, 1200)) << "the device has ten pages";
  EXPECT_FALSE(slab.cover(1900, 2001)) << "behind the addresses";
  for (const int64_t offset : {140, 260, 500}) slab.give_back(base + offset);
  EXPECT_EQ(slab.used_end(), 0);
  slab.trim();
  EXPECT_EQ(pages.num_mapped(), 0);
}

// A pool with an arena, and blocks that know what was written into them.
class Steps : public ::testing::Test {
 protected:
  Steps() { pool_.use_arena(); }

  Block take(int64_t bytes) {
    const Block block = pool_.take(bytes);
    const auto next = live_.lower_bound(block.data);
    EXPECT_TRUE(next == live_.end() || block.data + block.bytes <= next->first) << "memory of another block";
    EXPECT_TRUE(next == live_.begin() || std::prev(next)->first + std::prev(next)->second <= block.data);
    live_[block.data] = block.bytes;
    std::memset(block.data, ++mark_, static_cast<size_t>(bytes));
    marks_[block.data] = {mark_, bytes};
    return block;
  }
  void give_back(const Block& block) {
    const auto [mark, bytes] = marks_.at(block.data);
    for (const int64_t at : {int64_t{0}, bytes / 2, bytes - 1})
      EXPECT_EQ(block.data[at], std::byte{mark}) << "overwritten at " << at;
    live_.erase(block.data);
    marks_.erase(block.data);
    pool_.give_back(block);
  }
  // Two blocks that are kept, some that are not, and where all of them lay.
  std::vector<const std::byte*> step(int64_t bytes = 3 * kMiB) {
    const ArenaScope scope(pool_, "other", "step");
    const Block a = take(bytes), b = take(2 * kMiB);
    give_back(a);
    const Block c = take(5 * kMiB), d = take(1000);
    give_back(b);
    give_back(d);
    give_back(c);
    return {a.data, b.data, c.data, d.data};
  }
  const ActivationArena::Counts& counts() const { return pool_.arena()->counts(); }

  MemoryLedger ledger_;
  Pool pool_{Device{}, ledger_};
  std::map<std::byte*, int64_t> live_;
  std::map<std::byte*, std::pair<unsigned char, int64_t>> marks_;
  unsigned char mark_ = 0;
};

TEST_F(Steps, LieAtTheSameAddressesFromTheThirdOn) {
  step();
  step();
  const int64_t held = pool_.held_bytes();
  EXPECT_EQ(counts().plans, 0);
  const auto places = step();
  EXPECT_EQ(counts().plans, 1);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(step(), places);
  EXPECT_EQ(counts().planned_steps, 6);
  EXPECT_EQ(counts().placed, 24);
  EXPECT_LE(pool_.held_bytes(), held + 2 * kMiB) << "at most a page more";
  EXPECT_THAT(pool_.arena()->report(), ::testing::HasSubstr("step: 4 of 4 requests in 7.00 MiB"))
      << "b and c, and the small one beside c";
  EXPECT_EQ(ledger_.current_bytes(), 0);
}

TEST_F(Steps, SmallBlocksLeaveLargeOnesTheirAlignment) {
  std::vector<const std::byte*> places;
  for (int i = 0; i < 3; ++i) {
    const ArenaScope scope(pool_, "other", "step");
    std::vector<Block> blocks;
    for (const int64_t bytes : {int64_t{100}, 2 * kMiB, int64_t{700}, 4 * kMiB, int64_t{64}, 2 * kMiB})
      blocks.push_back(take(bytes));
    places = {blocks[1].data, blocks[3].data, blocks[5].data};
    for (const Block& block : blocks) give_back(block);
  }
  EXPECT_EQ(counts().placed, 6);
  for (const std::byte* place : places) EXPECT_EQ(reinterpret_cast<uintptr_t>(place) % (2 * kMiB), 0u);
}

TEST_F(Steps, AnotherSizeIsServedByThePoolAndThePlanGoesOn) {
  for (int i = 0; i < 4; ++i) step();
  const auto places = step();
  const int64_t placed = counts().placed;
  step(4 * kMiB);
  EXPECT_EQ(counts().left_steps, 1);
  EXPECT_EQ(counts().placed, placed) << "from the first request on";
  EXPECT_EQ(step(), places);
  EXPECT_EQ(counts().placed, placed + 4);
  EXPECT_EQ(counts().plans, 1);
}

TEST_F(Steps, TwoOfANewKindMakeANewPlan) {
  for (int i = 0; i < 4; ++i) step();
  step(4 * kMiB);
  step(4 * kMiB);
  const auto places = step(4 * kMiB);
  EXPECT_EQ(step(4 * kMiB), places);
  EXPECT_EQ(counts().plans, 2);
  EXPECT_EQ(counts().left_steps, 2);
  EXPECT_EQ(counts().planned_steps, 4);
}

TEST_F(Steps, OneRequestMoreOrLessLeavesThePlan) {
  const auto run = [&](int num_requests) {
    const ArenaScope scope(pool_, "other", "step");
    std::vector<Block> blocks;
    for (int i = 0; i < num_requests; ++i) blocks.push_back(take(kMiB));
    for (const Block& block : blocks) give_back(block);
  };
  for (int i = 0; i < 3; ++i) run(4);
  EXPECT_EQ(counts().planned_steps, 1);
  run(5);
  EXPECT_EQ(counts().left_steps, 1);
  EXPECT_EQ(counts().placed, 8) << "the four before the one too many, too";
  run(3);
  EXPECT_EQ(counts().left_steps, 2);
  run(4);
  EXPECT_EQ(counts().planned_steps, 2);
  EXPECT_EQ(counts().displaced, 0);
}

TEST_F(Steps, WhatOutlivesAStepIsNotInThePlan) {
  std::vector<Block> state;
  const auto run = [&] {
    const ArenaScope scope(pool_, "other", "step");
    const Block a = take(3 * kMiB);
    state.push_back(take(2 * kMiB));
    give_back(a);
    if (state.size() == 1) return;
    give_back(state.front());
    state.erase(state.begin());
  };
  for (int i = 0; i < 6; ++i) run();
  EXPECT_EQ(counts().planned_steps, 4);
  EXPECT_EQ(counts().placed, 4) << "a alone";
  EXPECT_EQ(counts().displaced, 0);
  give_back(state.front());
}

// As tables of a batch, whose sizes change with its documents.
TEST_F(Steps, OtherOwnersTakeWhatTheyWant) {
  for (int i = 0; i < 4; ++i) step();
  const auto places = step();
  for (int i = 1; i < 5; ++i) {
    const ArenaScope scope(pool_, "other", "step");
    const Block a = take(3 * kMiB), b = take(2 * kMiB);
    Block table;
    {
      const OwnerScope owner(ledger_, "batch");
      table = take(i * 100000);
    }
    give_back(a);
    const Block c = take(5 * kMiB), d = take(1000);
    for (const Block& block : {b, table, d, c}) give_back(block);
    EXPECT_EQ((std::vector<const std::byte*>{a.data, b.data, c.data, d.data}), places);
  }
  EXPECT_EQ(counts().left_steps, 0);
  EXPECT_EQ(counts().planned_steps, 7);
}

TEST_F(Steps, APlaceThatIsStillTakenIsNotGivenTwice) {
  for (int i = 0; i < 4; ++i) step();
  Block kept;
  {
    const ArenaScope scope(pool_, "other", "step");
    kept = take(3 * kMiB);  // and not given back, as it was until now
    const Block b = take(2 * kMiB), c = take(5 * kMiB), d = take(1000);
    for (const Block& block : {b, c, d}) give_back(block);
  }
  EXPECT_GE(counts().displaced, 1);
  const int64_t displaced = counts().displaced;
  step();
  EXPECT_GE(counts().displaced, displaced) << "kept lies where the first block does";
  for (int i = 0; i < 4; ++i) step();
  give_back(kept);
  const auto places = step();
  EXPECT_EQ(step(), places);
}

TEST_F(Steps, OfTwoKindsShareTheMemory) {
  const auto other = [&] {
    const ArenaScope scope(pool_, "other", "other");
    const Block a = take(6 * kMiB);
    give_back(a);
    return a.data;
  };
  for (int i = 0; i < 4; ++i) step();
  for (int i = 0; i < 4; ++i) other();
  const auto places = step();
  const std::byte* place = other();
  const int64_t held = pool_.held_bytes();
  EXPECT_EQ(step(), places);
  EXPECT_EQ(other(), place);
  EXPECT_EQ(pool_.held_bytes(), held);
  EXPECT_EQ(pool_.arena()->mapped_bytes(), held) << "the pool keeps nothing beside it";
  EXPECT_EQ(held, 8 * kMiB) << "whole pages of the larger plan";
}

TEST_F(Steps, ThatFailTeachNothing) {
  for (int i = 0; i < 4; ++i) step();
  const auto places = step();
  try {
    const ArenaScope scope(pool_, "other", "step");
    const Block a = take(3 * kMiB);
    give_back(a);
    throw Error("a step that failed");
  } catch (const Error&) {
  }
  EXPECT_EQ(counts().left_steps, 0);
  EXPECT_EQ(step(), places);
}

TEST_F(Steps, ThatAlternateGiveThePlanUp) {
  for (int i = 0; i < 4; ++i) step();
  for (int i = 0; i < 200; ++i) step((1 + i % 2) * kMiB);
  EXPECT_EQ(counts().plans, 1);
  EXPECT_EQ(pool_.arena()->mapped_bytes(), 0) << "its memory is the pool's again";
  const int64_t left = counts().left_steps;
  for (int i = 0; i < 6; ++i) step();
  EXPECT_EQ(counts().plans, 2) << "behind four equal steps in a row";
  EXPECT_EQ(counts().left_steps, left);
}

// The first block of every step is one that the step before kept: never where it was planned.
TEST_F(Steps, WhoseBlocksLiveLongerEveryTimeGiveThePlanUp) {
  for (int i = 0; i < 4; ++i) step();
  std::vector<Block> kept;
  for (int i = 0; i < 30; ++i) {
    const ArenaScope scope(pool_, "other", "step");
    const Block a = take(3 * kMiB), b = take(2 * kMiB), c = take(5 * kMiB), d = take(1000);
    if (i % 2 == 0) {
      kept = {a, b, c, d};
      continue;
    }
    for (const Block& block : kept) give_back(block);
    for (const Block& block : {a, b, c, d}) give_back(block);
  }
  EXPECT_LE(counts().plans, 6) << "a plan for each step would cost more than it gives";
}

// Any steps, with blocks that live from one to another, and requests between them: no block ever lies on
// another, and steps that repeat are planned.
TEST_F(Steps, OfAnyKindAreServedWithoutOverlap) {
  std::mt19937 random(11);
  std::vector<Block> state;
  for (int round = 0; round < 400; ++round) {
    std::mt19937 script(round / 40 + (random() % 8 == 0 ? 1000 + random() % 3 : 0));
    {
      const ArenaScope scope(pool_, "other", script() % 3 == 0 ? "one" : "two");
      std::vector<Block> blocks;
      for (unsigned request = 0, count = 10 + script() % 30; request < count; ++request) {
        blocks.push_back(take(1 + static_cast<int64_t>(script() % (script() % 4 == 0 ? 800000 : 3000))));
        while (!blocks.empty() && script() % 2 == 0) {
          const size_t which = script() % blocks.size();
          if (script() % 40 == 0)
            state.push_back(blocks[which]);
          else
            give_back(blocks[which]);
          blocks.erase(blocks.begin() + static_cast<std::ptrdiff_t>(which));
        }
      }
      const bool keeps_last = random() % 16 == 0;  // whatever the script was
      for (size_t i = 0; i < blocks.size(); ++i) {
        if (keeps_last && i == 0)
          state.push_back(blocks[i]);
        else
          give_back(blocks[i]);
      }
    }
    if (random() % 4 == 0) state.push_back(take(static_cast<int64_t>(1 + random() % 100000)));
    while (state.size() > 8) {
      const size_t which = random() % state.size();
      give_back(state[which]);
      state.erase(state.begin() + static_cast<std::ptrdiff_t>(which));
    }
    if (random() % 50 == 0) pool_.trim();
  }
  for (const Block& block : state) give_back(block);
  EXPECT_GT(counts().planned_steps, 40);
  EXPECT_GT(counts().left_steps, 10);
  EXPECT_EQ(counts().steps, 400);
  EXPECT_EQ(ledger_.current_bytes(), 0);
  std::printf(
      "%ld of 400 steps as planned, %ld left the plan, %ld plans, %ld requests placed, %ld displaced\n",
      counts().planned_steps, counts().left_steps, counts().plans, counts().placed, counts().displaced);
}

TEST(ActivationArena, APoolWithoutOneHasNoSteps) {
  MemoryLedger ledger;
  Pool pool(Device{}, ledger);
  const ArenaScope scope(pool, "other", "step");
  pool.give_back(pool.take(100));
  EXPECT_EQ(pool.arena(), nullptr);
}

}  // namespace
}  // namespace megalith
