// `mpirun -np N megalith train`, and processes started in other ways: the losses of one rank, one report, and
// errors that name the rank.
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/cli/mpi/mpi_run.h"

namespace megalith {
namespace {

using testing::HasSubstr;

// "steps 1 to 6: loss 5.5 -> 5.1, held-out loss 5.5 -> 5.0", without the speed.
std::string losses_of(const std::string& out) {
  std::smatch found;
  const std::regex summary(
      "steps [0-9]+ to [0-9]+: loss [0-9.]+ -> [0-9.]+, held-out loss [0-9.]+ -> [0-9.]+");
  const bool has_one = std::regex_search(out, found, summary);
  EXPECT_TRUE(has_one) << out;
  return has_one ? found.str() : "";
}

int count(const std::string& text, const std::string& part) {
  int times = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
  return times;
}

class MpiTrain : public testing::Test {
 protected:
  void SetUp() override { setenv("OMP_NUM_THREADS", "1", 1); }
};

TEST_F(MpiTrain, ProcessesTrainAsOneRankDoes) {
  const Outcome one = run(kTrain + "--train-iters 6");
  ASSERT_EQ(one.status, 0) << one.out;
  for (const std::string layout :
       {"", "--tensor-model-parallel-size 2 --sequence-parallel", "--pipeline-model-parallel-size 2",
        "--data-parallel-sharding-strategy optim"}) {
    const Outcome ranks = run(mpirun(2) + kTrain + "--train-iters 6 " + layout);
    ASSERT_EQ(ranks.status, 0) << layout << ranks.out;
    EXPECT_EQ(losses_of(ranks.out), losses_of(one.out)) << layout;  // to the four digits printed
    EXPECT_EQ(count(ranks.out, "steps 1 to 6"), 1) << "one rank reports";
  }
}

TEST_F(MpiTrain, ACheckpointOfProcessesIsLoadedByThreads) {
  char folder[] = "/tmp/megalith_mpi_XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string place = std::string(" --save ") + folder + " --load " + folder;
  const Outcome first = run(mpirun(4) + kTrain + "--train-iters 3 --lr-decay-iters 6" + place);
  EXPECT_EQ(first.status, 0) << first.out;
  const Outcome second =
      run(kTrain + "--train-iters 6 --lr-decay-iters 6 --ranks 2 --tensor-model-parallel-size 2" + place);
  EXPECT_EQ(second.status, 0) << second.out;
  EXPECT_THAT(second.out, HasSubstr("steps 4 to 6"));
  std::filesystem::remove_all(folder);
}

// As torchrun starts them: RANK and WORLD_SIZE, and no MPI.
TEST_F(MpiTrain, ProcessesWithoutMpiTrainAsOneRankDoes) {
  const Outcome one = run(kTrain + "--train-iters 6");
  const std::string variables =
      "WORLD_SIZE=2 MASTER_ADDR=127.0.0.1 MASTER_PORT=" + std::to_string(20000 + getpid() % 20000) + " ";
  const std::string train = kTrain + "--train-iters 6 --tensor-model-parallel-size 2";
  const Outcome ranks =
      run("(" + variables + "RANK=1 " + train + " & " + variables + "RANK=0 " + train + "; wait)");
  EXPECT_EQ(ranks.status, 0) << ranks.out;
  EXPECT_EQ(losses_of(ranks.out), losses_of(one.out));
  EXPECT_EQ(count(ranks.out, "steps 1 to 6"), 1);
}

TEST_F(MpiTrain, DifferentRecipesAreRefused) {
  const Outcome outcome = run(mpirun(1) + kTrain + "--train-iters 6 : -np 1 " + kTrain + "--train-iters 7");
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.out,
              HasSubstr("rank 1 has another recipe than rank 0: train.train_iters is 7 here and 6 there"));
}

TEST_F(MpiTrain, RankThreadsInProcessesAreRefused) {
  const Outcome outcome = run(mpirun(2) + kTrain + "--train-iters 6 --ranks 2");
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.out, HasSubstr("mpirun starts 2 processes, each of which is one rank"));
}

TEST_F(MpiTrain, AVariableThatIsNoNumberEndsTheJob) {
  const Outcome outcome =
      run(mpirun(1) + kTrain + "--train-iters 1000000 : -np 1 env OMPI_COMM_WORLD_RANK=x " + kTrain +
          "--train-iters 1000000");
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.out, HasSubstr("OMPI_COMM_WORLD_RANK is 'x'"));
}

}  // namespace
}  // namespace megalith
