#include "megalith/core/rng.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace megalith {
namespace {

using testing::ElementsAre;

// The known answers that Random123 publishes for philox4x32-10.
TEST(Philox, MatchesThePublishedVectors) {
  EXPECT_THAT(philox4x32({0, 0, 0, 0}, {0, 0}),
              ElementsAre(0x6627e8d5u, 0xe169c58du, 0xbc57ac4cu, 0x9b00dbd8u));
  constexpr uint32_t kAll = 0xffffffffu;
  EXPECT_THAT(philox4x32({kAll, kAll, kAll, kAll}, {kAll, kAll}),
              ElementsAre(0x408f276du, 0x41c83b0eu, 0xa20bc7c6u, 0x6d5451fdu));
  EXPECT_THAT(philox4x32({0x243f6a88u, 0x85a308d3u, 0x13198a2eu, 0x03707344u}, {0xa4093822u, 0x299f31d0u}),
              ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
}

TEST(RngKey, LaysSeedStreamAndIndexIntoKeyAndCounter) {
  const RngKey rng{0x299f31d0a4093822u, 0x0370734413198a2eu};
  EXPECT_THAT(rng.block(0x85a308d3243f6a88u),
              ElementsAre(0xd16cfe09u, 0x94fdccebu, 0x5001e420u, 0x24126ea1u));
  EXPECT_EQ(rng.bits(7), rng.block(1)[3]);
}

TEST(RngKey, FoldsIntoStreamsOfTheirOwn) {
  const RngKey rng{1234, 0};
  std::set<uint64_t> streams{rng.stream};
  for (uint64_t id = 0; id < 1000; ++id) streams.insert(rng.fold(id).stream);
  for (const char* name : {"embedding", "layer", "dropout"}) streams.insert(rng.fold(name).stream);
  EXPECT_EQ(streams.size(), 1004u);
  EXPECT_EQ(rng.fold(3).seed, rng.seed);
  EXPECT_NE(rng.fold(1).fold(2).stream, rng.fold(2).fold(1).stream);
  EXPECT_EQ(rng.fold("layer").stream, rng.fold("layer").stream);
}

TEST(Uniform, StaysInsideTheOpenInterval) {
  EXPECT_GT(uniform_from_bits(0), 0.0f);
  EXPECT_LT(uniform_from_bits(0xffffffffu), 1.0f);
  EXPECT_EQ(uniform_from_bits(0x80000000u), 0.5f + 0x1p-24f);
}

TEST(Normal, IsFiniteAtTheEndsOfTheWords) {
  for (const float value : normal_from_block({0, 0, 0xffffffffu, 0xffffffffu}))
    EXPECT_TRUE(std::isfinite(value));
  // Box and Muller by hand: u = 2^-33, angle = pi 2^-32.
  EXPECT_FLOAT_EQ(normal_from_block({0, 0, 0, 0})[0], static_cast<float>(std::sqrt(66 * std::log(2.0))));
}

}  // namespace
}  // namespace megalith
