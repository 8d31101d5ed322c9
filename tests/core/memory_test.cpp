#include <cstring>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/core/exec.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(MemoryLedger, BooksUnderTheOwnerInScope) {
  MemoryLedger ledger;
  const int other = ledger.take(100);
  {
    const OwnerScope outer(ledger, "parameters");
    ledger.take(1000);
    const OwnerScope inner(ledger, "activations");
    const int id = ledger.take(500);
    ledger.release(id, 500);
  }
  ledger.release(other, 100);
  EXPECT_EQ(ledger.current_bytes(), 1000);
  EXPECT_EQ(ledger.peak_bytes(), 1600);
  const std::vector<MemoryLedger::Entry> entries = ledger.entries();
  ASSERT_EQ(entries.size(), 3u);
  EXPECT_EQ(entries[0].owner, "parameters");
  EXPECT_EQ(entries[0].bytes_at_peak, 1000);
  EXPECT_EQ(entries[1].owner, "activations");
  EXPECT_EQ(entries[1].bytes, 0);
  EXPECT_EQ(entries[1].bytes_at_peak, 500);
  EXPECT_EQ(entries[2].bytes_at_peak, 100);
  ledger.reset_peak();
  EXPECT_EQ(ledger.peak_bytes(), 1000);
}

TEST(MemoryLedger, OutOfMemoryNamesTheOwners) {
  Exec exec({.memory_limit_bytes = 1 << 20});
  const OwnerScope parameters(exec.ledger(), "parameters");
  const Tensor held = exec.zeros({128 << 10}, DType::kF32);  // half of it
  const OwnerScope activations(exec.ledger(), "activations");
  EXPECT_THAT(
      [&] { exec.zeros({256 << 10}, DType::kF32); },
      ThrowsMessage<Error>(AllOf(HasSubstr("out of memory"), HasSubstr("'activations'"),
                                 HasSubstr("parameters"), HasSubstr("512.00 KiB"), HasSubstr("1.00 MiB"))));
  EXPECT_EQ(exec.ledger().current_bytes(), 512 << 10);
  exec.zeros({64 << 10}, DType::kF32);  // what fits still does
}

TEST(Pool, GivesAFreedBlockOutAgain) {
  MemoryLedger ledger;
  Pool pool(Device{}, ledger);
  const Block first = pool.take(100000);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(first.data) % 64, 0u);
  EXPECT_GE(first.bytes, 100000);
  EXPECT_LE(first.bytes, 100000 + 100000 / 8);
  std::memset(first.data, 1, static_cast<size_t>(first.bytes));
  pool.give_back(first);
  EXPECT_EQ(pool.cached_bytes(), first.bytes);
  EXPECT_EQ(ledger.current_bytes(), 0);
  const Block second = pool.take(99990);
  EXPECT_EQ(second.data, first.data);
  EXPECT_EQ(pool.cached_bytes(), 0);
  pool.give_back(second);
  pool.trim();
  EXPECT_EQ(pool.cached_bytes(), 0);
}

TEST(Pool, WhatACaptureUsesIsTheCapturesAlone) {
  MemoryLedger ledger;
  Pool pool(Device{}, ledger);
  const Block before = pool.take(1000);
  const std::byte* captured = nullptr;
  Block kept;
  {
    const CaptureMemory scope(pool);
    const Block block = pool.take(1000);
    captured = block.data;
    pool.give_back(block);
    pool.give_back(before);  // is nobody's but of those that come outside
    kept = pool.take(3000);
  }
  const Block outside = pool.take(1000);
  EXPECT_EQ(outside.data, before.data);
  const Block other = pool.take(1000);
  EXPECT_NE(other.data, captured);
  pool.give_back(outside);
  pool.give_back(other);
  pool.trim();
  EXPECT_EQ(pool.held_bytes(), pool.cached_bytes() + kept.bytes);
  {
    const CaptureMemory scope(pool);
    const Block again = pool.take(1000);
    EXPECT_EQ(again.data, captured) << "trim() left it where the graph has it";
    pool.give_back(again);
  }
  pool.give_back(kept);
  EXPECT_EQ(ledger.current_bytes(), 0);
}

TEST(Scratch, FramesNestAndReturnWhatTheyTook) {
  MemoryLedger ledger;
  Pool pool(Device{}, ledger);
  Scratch scratch(pool);
  {
    ScratchFrame outer(scratch);
    auto* a = outer.take<float>(1000, "a");
    std::memset(a, 0x11, 4000);
    for (int round = 0; round < 3; ++round) {
      ScratchFrame inner(scratch);
      auto* b = inner.take<double>(500000, "b");  // more than the first chunk holds
      auto* c = inner.take<std::byte>(1, "c");
      EXPECT_EQ(reinterpret_cast<uintptr_t>(b) % 64, 0u);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(c) % 64, 0u);
      std::memset(b, 0x22, 4000000);
      *c = std::byte{0x33};
    }
    for (int i = 0; i < 4000; ++i) ASSERT_EQ(reinterpret_cast<unsigned char*>(a)[i], 0x11);
    EXPECT_EQ(scratch.used_bytes(), 4032);
  }
  EXPECT_EQ(scratch.used_bytes(), 0);
  EXPECT_EQ(scratch.high_water_bytes(), 4032 + 4000000 + 64);
  EXPECT_THAT(scratch.high_water_names(), testing::ElementsAre("a 4032", "b 4000000", "c 64"));
  const int64_t held = ledger.current_bytes();
  {
    ScratchFrame again(scratch);
    again.take<double>(500000, "b");
  }
  EXPECT_EQ(ledger.current_bytes(), held) << "the second round takes nothing new";
}

}  // namespace
}  // namespace megalith
