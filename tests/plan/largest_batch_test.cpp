// What an error advises fits when it is done.

#include "megalith/plan/largest_batch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/core/memory/out_of_memory.h"

#include "tests/plan/one_step.h"

namespace megalith {
namespace {

RunConfig run_of(int64_t micro_batch_size) {
  RunConfig config;
  config.model.num_layers = 4;
  config.model.hidden_size = 128;
  config.model.ffn_hidden_size = 384;
  config.model.num_attention_heads = 4;
  config.model.vocab_size = 500;
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  config.model.max_position_embeddings = config.data.seq_length = 128;
  config.train.train_iters = 10;
  config.train.micro_batch_size = micro_batch_size;
  config.train.global_batch_size = 24;
  return config;
}

// The peak of a step, in a device that has `limit_bytes` (0: enough).
int64_t run(const RunConfig& config, int64_t limit_bytes, MemoryShortage* shortage = nullptr) {
  Exec exec({.num_threads = 2, .memory_limit_bytes = limit_bytes});
  try {
    testing::run_one_step(config, exec);
  } catch (const OutOfMemory& error) {
    if (shortage == nullptr) throw;
    *shortage = {.limit_bytes = error.bytes().limit,
                 .wanted_bytes = exec.ledger().peak_bytes() + error.bytes().asked};
  }
  return exec.ledger().peak_bytes();
}

TEST(LargestMicroBatch, FitsAndTheNextOneDoesNot) {
  const int64_t sizes[] = {12, 8, 6, 4, 3, 2, 1};  // of 24
  for (const int64_t target : {8, 4}) {
    const int64_t limit = run(run_of(target), 0) * 11 / 10;
    MemoryShortage shortage;
    run(run_of(24), limit, &shortage);
    EXPECT_EQ(shortage.limit_bytes, limit) << "24 did not fit";
    EXPECT_GT(shortage.wanted_bytes, limit);
    const int64_t advised = largest_micro_batch(run_of(24), 1, shortage);
    EXPECT_EQ(advised, target);
    EXPECT_LE(run(run_of(advised), limit), limit);
    EXPECT_THAT(batch_advice(run_of(24), 1, shortage),
                ::testing::AllOf(::testing::HasSubstr("micro_batch_size 24"),
                                 ::testing::HasSubstr(fmt::format("{} is the largest", target))));
    const auto next = std::find(std::begin(sizes), std::end(sizes), target) - 1;
    EXPECT_THROW(run(run_of(*next), limit), OutOfMemory);
  }
}

TEST(LargestMicroBatch, SaysWhereNoneFits) {
  const MemoryShortage shortage{.limit_bytes = 1 << 20, .wanted_bytes = 2 << 20};
  EXPECT_EQ(largest_micro_batch(run_of(24), 1, shortage), 0);
  EXPECT_THAT(batch_advice(run_of(24), 1, shortage), ::testing::HasSubstr("no micro_batch_size below 24"));
}

// Ranks of a pipeline take multiples of a number of microbatches; whatever is advised can be run.
TEST(LargestMicroBatch, FitsThePipeline) {
  RunConfig config = run_of(6);
  config.parallel.pipeline_model_parallel_size = 2;
  const int64_t size =
      largest_micro_batch(config, 2, {.limit_bytes = int64_t{1} << 40, .wanted_bytes = 1 << 20});
  EXPECT_EQ(size, 3);
  config.train.micro_batch_size = size;
  check_layout(config, 2);
}

}  // namespace
}  // namespace megalith
