// Processes that know by environment variables alone which ranks they are, as torchrun and srun start them:
// the losses of one rank, one report, and errors that name the variables.
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/processes/process_commands.h"

namespace megalith {
namespace {

using testing::HasSubstr;

class ProcessTrain : public ProcessCommands {
 protected:
  template <class Variables>
  static Outcome run_all(int size, const Variables& variables, const std::string& options) {
    return run_in_all(size, variables, kTrain + options);
  }
};

TEST_F(ProcessTrain, VariablesOfTorchrunTrainAsOneRankDoes) {
  const Outcome one = run(kTrain + "--train-iters 6");
  ASSERT_EQ(one.status, 0) << one.out;
  struct Layout {
    int size;
    const char* options;
  };
  for (const auto& [size, options] :
       {Layout{2, "--tensor-model-parallel-size 2"}, Layout{2, "--data-parallel-sharding-strategy optim"},
        Layout{4, "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2"}}) {
    next_port();
    const Outcome ranks = run_all(size, torch_rank, std::string("--train-iters 6 ") + options);
    ASSERT_EQ(ranks.status, 0) << options << ranks.out;
    EXPECT_EQ(losses_of(ranks.out), losses_of(one.out)) << options;  // to the four digits printed
    EXPECT_EQ(count(ranks.out, "steps 1 to 6"), 1) << "one rank reports";
  }
}

// Two processes of two rank threads each: groups of one process meet in memory, the others through sockets.
TEST_F(ProcessTrain, ProcessesWithRankThreadsTrainAsOneRankDoes) {
  const Outcome one = run(kTrain + "--train-iters 6");
  for (const char* options :
       {"--tensor-model-parallel-size 2 --data-parallel-sharding-strategy optim",
        "--tensor-model-parallel-size 2 --pipeline-model-parallel-size 2", "--context-parallel-size 4"}) {
    next_port();
    const Outcome ranks = run_all(2, torch_rank, std::string("--train-iters 6 --ranks 2 ") + options);
    ASSERT_EQ(ranks.status, 0) << options << ranks.out;
    EXPECT_EQ(losses_of(ranks.out), losses_of(one.out)) << options;
    EXPECT_EQ(count(ranks.out, "steps 1 to 6"), 1) << "one rank reports";
  }
}

TEST_F(ProcessTrain, AProcessThatDiesEndsTheRankThreadsOfTheOthers) {
  const auto limited = [](int rank, int size) {
    return (rank == 1 ? "timeout -s KILL 5 env " : "timeout -s KILL 100 env ") + torch_rank(rank, size);
  };
  const Outcome outcome =
      run_all(2, limited, "--train-iters 1000000 --ranks 2 --tensor-model-parallel-size 2");
  EXPECT_NE(outcome.status, 0);
  EXPECT_NE(outcome.status, 137) << "it hung";
  EXPECT_THAT(outcome.out,
              testing::AnyOf(HasSubstr("because rank 2 failed"), HasSubstr("because rank 3 failed")));
}

TEST_F(ProcessTrain, TasksOfSrunTrainAsOneRankDoes) {
  const Outcome one = run(kTrain + "--train-iters 4");
  const Outcome ranks = run_all(3, slurm_task, "--train-iters 4 --global-batch-size 6");
  const Outcome same = run(kTrain + "--train-iters 4 --global-batch-size 6");
  ASSERT_EQ(ranks.status, 0) << ranks.out;
  EXPECT_EQ(losses_of(ranks.out), losses_of(same.out));
  EXPECT_NE(losses_of(ranks.out), losses_of(one.out));
}

TEST_F(ProcessTrain, TasksOfSrunWithoutPmixMeetAtTheFirstHost) {
  unsetenv("MASTER_ADDR");
  const auto task = [](int rank, int size) {
    return slurm_task(rank, size) + "SLURM_STEP_NODELIST=localhost,other[1-3] ";
  };
  const Outcome ranks = run_all(2, task, "--train-iters 2 --tensor-model-parallel-size 2");
  ASSERT_EQ(ranks.status, 0) << ranks.out;
  EXPECT_EQ(losses_of(ranks.out), losses_of(run(kTrain + "--train-iters 2").out));
}

TEST_F(ProcessTrain, WhatIsMissingOrContradictsIsNamed) {
  const auto error_of = [](const std::string& variables) {
    const Outcome outcome = run(variables + kTrain + "--train-iters 1");
    EXPECT_NE(outcome.status, 0) << variables;
    return outcome.out;
  };
  EXPECT_THAT(error_of("RANK=0 "), HasSubstr("RANK is set, WORLD_SIZE is not"));
  EXPECT_THAT(error_of("RANK=2 WORLD_SIZE=2 "), HasSubstr("RANK=2 and WORLD_SIZE=2"));
  EXPECT_THAT(error_of("RANK=0 WORLD_SIZE=2 MASTER_PORT=x "), HasSubstr("MASTER_PORT is 'x'"));
  unsetenv("MASTER_PORT");
  EXPECT_THAT(error_of(slurm_task(0, 2)), HasSubstr("MASTER_PORT is not set"));
}

TEST_F(ProcessTrain, RanksThatContradictEachOtherEndTheRun) {
  const auto size_of_rank = [](int rank, int size) { return torch_rank(rank, rank == 0 ? size : size + 1); };
  EXPECT_THAT(run_all(2, size_of_rank, "--train-iters 1 --global-batch-size 6").out,
              HasSubstr("rank 1 knows of 3 ranks and rank 0 of 2"));
  next_port();
  const auto twice = [](int rank, int size) { return torch_rank(rank == 0 ? 0 : 1, size); };
  EXPECT_THAT(run_all(3, twice, "--train-iters 1 --global-batch-size 6").out,
              HasSubstr("two processes have RANK=1"));
}

}  // namespace
}  // namespace megalith
