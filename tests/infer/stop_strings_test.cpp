#include "megalith/infer/stop_strings.h"

#include <gtest/gtest.h>

namespace megalith {
namespace {

TEST(StopStrings, CutsAtTheFirstStopAndHoldsBackBeginnings) {
  StopStrings stops({"END", "\n\n"});
  EXPECT_EQ(stops.push("abcE"), "abc");
  EXPECT_EQ(stops.push("N"), "");
  EXPECT_EQ(stops.push("xE"), "ENx");
  EXPECT_FALSE(stops.found());
  EXPECT_EQ(stops.push("ND tail"), "");
  EXPECT_TRUE(stops.found());
  EXPECT_EQ(stops.push("more"), "");
}

TEST(StopStrings, GivesBackWhatItHeld) {
  StopStrings stops({"abc"});
  EXPECT_EQ(stops.push("xab"), "x");
  EXPECT_EQ(stops.finish(), "ab");
}

}  // namespace
}  // namespace megalith
