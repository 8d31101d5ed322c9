#include "megalith/cli/same_recipe.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"

namespace megalith {
namespace {

using testing::HasSubstr;

const char* const kRecipe = "model:\n  num_layers: 2\n  names:\n    - a\n    - b\ntrain:\n  lr: 0.1\n";

TEST(SameRecipe, TheFirstKeyThatDiffersIsNamed) {
  EXPECT_EQ(first_difference(kRecipe, kRecipe), "");
  EXPECT_EQ(
      first_difference(kRecipe, "model:\n  num_layers: 3\n  names:\n    - a\n    - b\ntrain:\n  lr: 9\n"),
      "model.num_layers is 2 here and 3 there");
  EXPECT_EQ(first_difference(kRecipe, "model:\n  num_layers: 2\n  names:\n    - a\n    - b\n"),
            "train.lr is 0.1 here and not set there");
  EXPECT_EQ(first_difference("train:\n", "train:\n  lr: 2\n"), "train.lr is not set here and 2 there");
  EXPECT_THAT(
      first_difference(kRecipe, "model:\n  num_layers: 2\n  names:\n    - a\n    - c\ntrain:\n  lr: 0.1\n"),
      HasSubstr("model.names"));
}

TEST(SameRecipe, EveryRankGoesOnOrNone) {
  std::atomic<int> passed = 0;
  run_ranks(3, [&](Communicator& host) {
    check_same_recipe(host, kRecipe);
    ++passed;
  });
  EXPECT_EQ(passed, 3);
  passed = 0;
  try {
    run_ranks(3, [&](Communicator& host) {
      check_same_recipe(host, host.rank() == 1 ? "model:\n  num_layers: 5\n" : kRecipe);
      ++passed;
    });
    FAIL() << "different recipes were taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(),
                HasSubstr("rank 1 has another recipe than rank 0: model.num_layers is 5 here and 2"));
  }
  EXPECT_EQ(passed, 0);
}

}  // namespace
}  // namespace megalith
