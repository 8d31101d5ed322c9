// Ranks of two processes, here parts of one program: advice where tensor or expert parallelism crosses them.
#include "megalith/parallel/process_advice.h"

#include <mutex>
#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"

#include "tests/comm/run_processes.h"

namespace megalith {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

std::set<std::string> advice_of(int num_threads, const ParallelConfig& parallel) {
  std::mutex mutex;
  std::set<std::string> all;
  run_processes(2, num_threads, {}, [&](Communicator& world) {
    const std::string advice = process_advice(Mesh(world, parallel));
    const std::lock_guard lock(mutex);
    all.insert(advice);
  });
  return all;
}

TEST(ProcessAdvice, IsForGroupsThatCrossProcesses) {
  const ParallelConfig tensor{.tensor_model_parallel_size = 2, .sequence_parallel = true},
      experts{.expert_model_parallel_size = 2};
  ParallelConfig both = tensor;
  both.expert_model_parallel_size = 2;
  both.expert_tensor_parallel_size = 1;
  EXPECT_THAT(advice_of(1, tensor), ::testing::ElementsAre(AllOf(HasSubstr("tensor-parallel products wait"),
                                                                 HasSubstr("--gpus N"))));
  EXPECT_THAT(advice_of(1, experts), ::testing::ElementsAre(HasSubstr("rows of experts")));
  EXPECT_THAT(advice_of(1, both), ::testing::ElementsAre(HasSubstr("travels, and rows of experts")));
  EXPECT_EQ(advice_of(2, both), std::set<std::string>{""});
  EXPECT_EQ(advice_of(1, {}), std::set<std::string>{""});
  run_ranks(2, [&](Communicator& world) { EXPECT_EQ(process_advice(Mesh(world, both)), ""); });
}

}  // namespace
}  // namespace megalith
