#include "megalith/train/changed_keys.h"

#include <gtest/gtest.h>

namespace megalith {
namespace {

TEST(ChangedKeys, AreThoseThatMakeItAnotherRun) {
  const std::string stored =
      "data:\n  seed: 1\n  num_prefetch: 2\n  old: 1\noptim:\n  lr: 0.1\n"
      "parallel:\n  tensor_model_parallel_size: 1\ntrain:\n  global_batch_size: 8\n  train_iters: 10\n";
  EXPECT_EQ(changed_keys(stored, stored), "");
  EXPECT_EQ(changed_keys(stored, ""), "");
  EXPECT_EQ(changed_keys(stored,
                         "data:\n  seed: 5\n  num_prefetch: 4\n  new: 1\noptim:\n  lr: 0.1\n"
                         "parallel:\n  tensor_model_parallel_size: 2\ntrain:\n  global_batch_size: 16\n"
                         "  train_iters: 20\n"),
            "data.seed 1 -> 5, train.global_batch_size 8 -> 16");
}

}  // namespace
}  // namespace megalith
