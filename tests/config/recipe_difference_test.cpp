#include "megalith/config/recipe_difference.h"

#include <gtest/gtest.h>

namespace megalith {
namespace {

TEST(RecipeDifference, NamesAllKeysInOrder) {
  const std::vector<RecipeDifference> differences =
      recipe_differences("model:\n  layers: 2\n  names:\n    - a\n    - b\n  size: 4\ntrain:\n  lr: 0.1\n",
                         "model:\n  layers: 3\n  names:\n    - a\n    - c\n  size: 4\ntrain:\n  decay:\n");
  ASSERT_EQ(differences.size(), 4u);
  EXPECT_EQ(differences[0].key, "model.layers");
  EXPECT_EQ(differences[0].here, "2");
  EXPECT_EQ(differences[0].there, "3");
  EXPECT_EQ(differences[1].key, "model.names");
  EXPECT_EQ(differences[2].key, "train.lr");
  EXPECT_EQ(differences[2].there, "not set");
  EXPECT_EQ(differences[3].key, "train.decay");
  EXPECT_EQ(differences[3].here, "not set");
  EXPECT_EQ(differences[3].there, "empty");
}

TEST(RecipeDifference, EqualTextsHaveNone) {
  EXPECT_TRUE(recipe_differences("a:\n  b: 1\n", "a:\n  b: 1\n").empty());
  EXPECT_TRUE(recipe_differences("", "").empty());
}

}  // namespace
}  // namespace megalith
