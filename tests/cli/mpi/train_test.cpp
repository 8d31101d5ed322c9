// `mpirun -np N megalith train`: the losses of one rank, one report, and
// errors that name the rank.
#include <cstdlib>
#include <filesystem>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/cli/mpi/mpi_run.h"

namespace megalith {
namespace {

using testing::HasSubstr;

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

TEST_F(MpiTrain, ProcessesShareLongSequencesAndPackedDocuments) {
  const std::string sequences = "--train-iters 4 --seq-length 128 ",
                    packed = "--reset-attention-mask --reset-position-ids ";
  struct Case {
    std::string data, ranks;
  };
  for (const Case& c :
       {Case{"", "--cp-comm-type p2p"}, Case{"", "--cp-comm-type all_gather"}, Case{packed, ""},
        Case{packed, "--hybrid-context-parallel --max-seqlen-per-dp-cp-rank 32"}}) {
    const Outcome one = run(kTrain + sequences + c.data);
    const Outcome ranks =
        run(mpirun(4) + kTrain + sequences + c.data + "--context-parallel-size 4 " + c.ranks);
    ASSERT_EQ(ranks.status, 0) << c.data << c.ranks << ranks.out;
    EXPECT_EQ(losses_of(ranks.out), losses_of(one.out)) << c.data << c.ranks;
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

TEST_F(MpiTrain, DifferentRecipesAreRefused) {
  const Outcome outcome = run(mpirun(1) + kTrain + "--train-iters 6 : -np 1 " + kTrain + "--train-iters 7");
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.out,
              HasSubstr("rank 1 has another recipe than rank 0: train.train_iters is 7 here and 6 there"));
}

TEST_F(MpiTrain, ProcessesWithRankThreadsTrainAsOneRankDoes) {
  const Outcome one = run(kTrain + "--train-iters 6");
  const Outcome ranks = run(mpirun(2) + kTrain + "--train-iters 6 --ranks 2 --tensor-model-parallel-size 2");
  ASSERT_EQ(ranks.status, 0) << ranks.out;
  EXPECT_EQ(losses_of(ranks.out), losses_of(one.out));
  EXPECT_EQ(count(ranks.out, "steps 1 to 6"), 1) << "one rank reports";
  const Outcome failed = run(mpirun(2) + kTrain + "--train-iters 2 --ranks 2 --save /dev/null/run");
  EXPECT_NE(failed.status, 0);
}

// A step whose MPI was not started by srun would be as many runs of one rank.
TEST_F(MpiTrain, TasksThatMpiDoesNotKnowAreRefused) {
  const Outcome outcome =
      run("PMIX_NAMESPACE=gone SLURM_PROCID=0 SLURM_STEP_NUM_TASKS=2 OMPI_MCA_ess=singleton " + kTrain +
          "--train-iters 6");
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.out, HasSubstr("process 0 of 2, MPI sees 1: start with `srun --mpi=pmix`"));
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
