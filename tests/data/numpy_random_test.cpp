#include "megalith/data/numpy_random.h"

#include <numeric>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace megalith {
namespace {

using testing::ElementsAre;

std::vector<int> permutation(uint32_t seed, int count) {
  NumpyRandomState random(seed);
  std::vector<int> values(static_cast<size_t>(count));
  std::iota(values.begin(), values.end(), 0);
  random.shuffle(std::span(values));
  return values;
}

TEST(NumpyRandomState, IsTheReferenceTwister) {
  // The first output of the reference implementation at its default seed, and the 10000th that the C++
  // standard requires of mt19937.
  NumpyRandomState random(5489);
  EXPECT_EQ(random.next_u32(), 3499211612u);
  for (int i = 1; i < 9999; ++i) random.next_u32();
  EXPECT_EQ(random.next_u32(), 4123659995u);
}

TEST(NumpyRandomState, ShufflesAsNumpy) {
  EXPECT_THAT(permutation(42, 10), ElementsAre(8, 1, 5, 0, 7, 2, 9, 4, 3, 6));
  EXPECT_THAT(permutation(0, 10), ElementsAre(2, 8, 4, 9, 1, 6, 7, 3, 0, 5));
  // RandomState(1234).shuffle(arange(1000000))
  const std::vector<int> large = permutation(1234, 1000000);
  EXPECT_THAT(std::vector<int>(large.begin(), large.begin() + 6),
              ElementsAre(433572, 254298, 686334, 866486, 649015, 276207));
  int64_t weighted = 0;
  for (size_t i = 0; i < large.size(); ++i) weighted += static_cast<int64_t>(i) * large[i];
  EXPECT_EQ(weighted, 250078840785630488);
}

TEST(NumpyRandomState, ShufflesNothingAndOne) {
  NumpyRandomState random(1);
  NumpyRandomState untouched(1);
  std::vector<int> none;
  std::vector<int> one{7};
  random.shuffle(std::span(none));
  random.shuffle(std::span(one));
  EXPECT_EQ(one[0], 7);
  EXPECT_EQ(random.next_u32(), untouched.next_u32());
}

TEST(NumpyRandomState, TakesTwoWordsForLargeRanges) {
  NumpyRandomState words(9);
  NumpyRandomState random(9);
  const uint64_t high = words.next_u32();
  const uint64_t low = words.next_u32();
  EXPECT_EQ(random.bounded(UINT64_MAX), high << 32 | low);
}

TEST(NumpyGenerator, DrawsIntegersAsNumpy) {
  // default_rng(0).integers(1, 4096, size=100000, dtype=int32)
  const std::vector<int32_t> lengths = NumpyGenerator(0).integers(1, 4096, 100000);
  EXPECT_THAT(std::vector<int32_t>(lengths.begin(), lengths.begin() + 6),
              ElementsAre(3484, 2609, 2094, 1105, 1261, 168));
  EXPECT_THAT(std::vector<int32_t>(lengths.end() - 3, lengths.end()), ElementsAre(61, 100, 769));
  EXPECT_EQ(std::accumulate(lengths.begin(), lengths.end(), int64_t{0}), 204637097);
  // default_rng(3).integers(-2000000000, 1000000000, size=1000, dtype=int32): many rejections
  const std::vector<int32_t> wide = NumpyGenerator(3).integers(-2000000000, 1000000000, 1000);
  EXPECT_THAT(std::vector<int32_t>(wide.begin(), wide.begin() + 3),
              ElementsAre(434513622, -1743052500, -1461677798));
  EXPECT_EQ(std::accumulate(wide.begin(), wide.end(), int64_t{0}), -551148214843);
}

}  // namespace
}  // namespace megalith
