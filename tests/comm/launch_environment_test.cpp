#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/launch.h"
#include "megalith/comm/mpi_launch.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class LaunchEnvironment : public testing::Test {
 protected:
  void SetUp() override { clear(); }
  void TearDown() override { clear(); }
  static void clear() {
    for (const char* name : {"OMPI_COMM_WORLD_RANK",
                             "OMPI_COMM_WORLD_SIZE",
                             "OMPI_COMM_WORLD_LOCAL_RANK",
                             "OMPI_COMM_WORLD_LOCAL_SIZE",
                             "SLURM_PROCID",
                             "SLURM_NTASKS",
                             "SLURM_STEP_NUM_TASKS",
                             "SLURM_LOCALID",
                             "SLURM_STEP_TASKS_PER_NODE",
                             "SLURM_NODEID",
                             "SLURM_STEP_NODELIST",
                             "SLURM_JOB_ID",
                             "SLURM_STEP_ID",
                             "PMIX_NAMESPACE",
                             "RANK",
                             "WORLD_SIZE",
                             "LOCAL_RANK",
                             "LOCAL_WORLD_SIZE",
                             "MASTER_ADDR",
                             "MASTER_PORT",
                             "TORCHELASTIC_USE_AGENT_STORE"})
      ::unsetenv(name);
  }
  static void set(const char* name, const char* value) { ::setenv(name, value, 1); }
};

TEST_F(LaunchEnvironment, APlainProcessIsNoRank) {
  EXPECT_FALSE(detect_mpi_launch().has_value());
  // A batch script of Slurm.
  set("SLURM_PROCID", "0");
  set("SLURM_NTASKS", "16");
  EXPECT_FALSE(detect_mpi_launch().has_value());
}

TEST_F(LaunchEnvironment, MpirunAndSrunAreKnown) {
  set("SLURM_PROCID", "5");
  set("SLURM_STEP_NUM_TASKS", "16");
  set("SLURM_LOCALID", "1");
  EXPECT_FALSE(detect_mpi_launch().has_value()) << "nobody tells MPI where the peers are";
  set("PMIX_NAMESPACE", "slurm.pmix.6.0");
  auto launch = detect_mpi_launch();
  ASSERT_EQ(launch.has_value(), has_mpi());
  if (!has_mpi()) launch.emplace(MpiLaunch{"srun", 5, 16, 1});
  EXPECT_EQ(launch->launcher, "srun");
  EXPECT_EQ(launch->rank, 5);
  EXPECT_EQ(launch->size, 16);
  EXPECT_EQ(launch->local_rank, 1);
  // mpirun inside an allocation
  set("OMPI_COMM_WORLD_RANK", "3");
  set("OMPI_COMM_WORLD_SIZE", "4");
  launch = detect_mpi_launch();
  EXPECT_EQ(launch->launcher, "mpirun");
  EXPECT_EQ(launch->rank, 3);
  EXPECT_EQ(launch->size, 4);
}

TEST_F(LaunchEnvironment, ALaunchIsThreadsOrProcessesWithAsManyRanksEach) {
  const Launch threads = find_launch(4);
  EXPECT_EQ(threads.kind, LaunchKind::kThreads);
  EXPECT_EQ(threads.num_ranks, 4);
  EXPECT_TRUE(threads.is_first_process());
  set("OMPI_COMM_WORLD_RANK", "0");
  set("OMPI_COMM_WORLD_SIZE", "1");
  EXPECT_EQ(find_launch(4).kind, LaunchKind::kThreads);  // mpirun -np 1
  set("OMPI_COMM_WORLD_RANK", "5");
  set("OMPI_COMM_WORLD_SIZE", "8");
  set("OMPI_COMM_WORLD_LOCAL_RANK", "1");
  set("OMPI_COMM_WORLD_LOCAL_SIZE", "4");
  const Launch process = find_launch(1);
  EXPECT_EQ(process.kind, LaunchKind::kMpi);
  EXPECT_EQ(process.num_ranks, 8);
  EXPECT_EQ(process.local_rank, 1);
  EXPECT_EQ(process.num_local, 4);
  EXPECT_FALSE(process.is_first_process());
  const Launch of_two = find_launch(2);
  EXPECT_EQ(of_two.num_ranks, 16);
  EXPECT_EQ(of_two.num_threads, 2);
  EXPECT_EQ(of_two.process_rank, 5);
  EXPECT_EQ(of_two.num_local, 8);
}

TEST_F(LaunchEnvironment, VariablesOfTorchrunAreALaunch) {
  set("RANK", "3");
  set("WORLD_SIZE", "1");
  EXPECT_THAT([] { find_launch(1); }, ThrowsMessage<Error>(HasSubstr("RANK=3 and WORLD_SIZE=1")));
  set("RANK", "0");
  EXPECT_EQ(find_launch(4).kind, LaunchKind::kThreads);
  set("RANK", "3");
  set("WORLD_SIZE", "8");
  EXPECT_THAT([] { find_launch(1); }, ThrowsMessage<Error>(HasSubstr("rank 3 of 8, MASTER_PORT is not set")));
  set("MASTER_PORT", "29500");
  EXPECT_THAT([] { find_launch(1); }, ThrowsMessage<Error>(HasSubstr("MASTER_ADDR is not set")));
  set("MASTER_ADDR", "node7");
  set("LOCAL_RANK", "1");
  const Launch launch = find_launch(1);
  EXPECT_EQ(launch.kind, LaunchKind::kSockets);
  EXPECT_EQ(launch.num_ranks, 8);
  EXPECT_EQ(launch.process_rank, 3);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.sockets.address, "node7");
  EXPECT_EQ(launch.sockets.port, 29500);
  set("TORCHELASTIC_USE_AGENT_STORE", "True");
  EXPECT_EQ(find_launch(1).sockets.port, 29501);
  EXPECT_EQ(find_launch(2).num_ranks, 16);
  EXPECT_EQ(find_launch(2).sockets.num_threads, 2);
  set("MASTER_PORT", "70000");
  EXPECT_THAT([] { find_launch(1); }, ThrowsMessage<Error>(HasSubstr("MASTER_PORT is 70000")));
}

TEST_F(LaunchEnvironment, TasksOfSrunMeetAtMasterAddr) {
  set("SLURM_PROCID", "5");
  set("SLURM_STEP_NUM_TASKS", "16");
  set("SLURM_LOCALID", "1");
  set("PMIX_NAMESPACE", "slurm.pmix.6.0");
  set("MASTER_ADDR", "node7");
  EXPECT_THAT([] { find_launch(1); },
              ThrowsMessage<Error>(HasSubstr("SLURM_STEP_NUM_TASKS say rank 5 of 16, MASTER_PORT is not")));
  set("MASTER_PORT", "29500");
  const Launch launch = find_launch(1);
  EXPECT_EQ(launch.kind, LaunchKind::kSockets);
  EXPECT_EQ(launch.num_ranks, 16);
  EXPECT_EQ(launch.process_rank, 5);
  EXPECT_EQ(launch.local_rank, 1);
  // A torchrun in each of the tasks.
  set("RANK", "43");
  set("WORLD_SIZE", "128");
  set("LOCAL_RANK", "3");
  EXPECT_EQ(find_launch(1).num_ranks, 128);
  EXPECT_EQ(find_launch(1).process_rank, 43);
  EXPECT_EQ(find_launch(1).local_rank, 3);
}

TEST_F(LaunchEnvironment, TasksOfSrunWithoutPmixMeetAtTheFirstHost) {
  set("SLURM_PROCID", "5");
  set("SLURM_STEP_NUM_TASKS", "16");
  set("SLURM_LOCALID", "1");
  EXPECT_THAT([] { find_launch(1); },
              ThrowsMessage<Error>(AllOf(HasSubstr("task 5 of 16"), HasSubstr("srun --mpi=pmix"))));
  set("SLURM_STEP_NODELIST", "node[03-06]");
  set("SLURM_STEP_TASKS_PER_NODE", "4(x4)");
  set("SLURM_NODEID", "1");
  set("SLURM_JOB_ID", "4100");
  set("SLURM_STEP_ID", "2");
  const Launch launch = find_launch(1);
  EXPECT_EQ(launch.kind, LaunchKind::kSockets);
  EXPECT_EQ(launch.num_ranks, 16);
  EXPECT_EQ(launch.process_rank, 5);
  EXPECT_EQ(launch.local_rank, 1);
  EXPECT_EQ(launch.num_local, 4);
  EXPECT_EQ(launch.sockets.address, "node03");
  set("SLURM_STEP_ID", "3");
  EXPECT_NE(find_launch(1).sockets.port, launch.sockets.port) << "steps of one job run side by side";
  set("MASTER_PORT", "29500");
  EXPECT_EQ(find_launch(1).sockets.port, 29500);
  // One mpirun in each task is a run of its own.
  set("OMPI_COMM_WORLD_RANK", "0");
  set("OMPI_COMM_WORLD_SIZE", "1");
  EXPECT_EQ(find_launch(1).kind, LaunchKind::kThreads);
}

TEST_F(LaunchEnvironment, ARankTakesTheGpuOfItsPlaceOrItsOwn) {
  const Launch processes{.kind = LaunchKind::kSockets, .num_ranks = 4, .num_local = 4},
      threads{.num_ranks = 4};
  EXPECT_EQ(gpu_of_rank(processes, 3, 4), 3);
  EXPECT_EQ(gpu_of_rank(processes, 3, 1), 3) << "not there: an error, not another rank's";
  set("CUDA_VISIBLE_DEVICES", "5");
  EXPECT_EQ(gpu_of_rank(processes, 3, 1), 0);
  EXPECT_EQ(gpu_of_rank(threads, 3, 1), 3);
  set("CUDA_VISIBLE_DEVICES", "0,1,2,3");
  EXPECT_EQ(gpu_of_rank(processes, 3, 4), 3);
  const Launch of_two{.kind = LaunchKind::kSockets, .num_ranks = 8, .num_threads = 2, .num_local = 4};
  EXPECT_EQ(gpu_of_rank(of_two, 3, 4), 3);
  set("CUDA_VISIBLE_DEVICES", "2,3");
  EXPECT_EQ(gpu_of_rank(of_two, 3, 2), 1) << "the launcher gave each process its two";
}

TEST_F(LaunchEnvironment, ContradictionsAreNamed) {
  set("RANK", "1");
  EXPECT_THAT([] { find_launch(1); }, ThrowsMessage<Error>(HasSubstr("RANK is set, WORLD_SIZE is not")));
  ::unsetenv("RANK");
  set("WORLD_SIZE", "4");
  EXPECT_THAT([] { find_launch(1); }, ThrowsMessage<Error>(HasSubstr("WORLD_SIZE is set, RANK is not")));
  set("RANK", "1");
  set("MASTER_ADDR", "node7");
  set("MASTER_PORT", "29500");
  set("LOCAL_RANK", "2");
  set("LOCAL_WORLD_SIZE", "2");
  EXPECT_THAT([] { find_launch(1); },
              ThrowsMessage<Error>(HasSubstr("LOCAL_RANK=2 and LOCAL_WORLD_SIZE=2 contradict")));
  set("LOCAL_WORLD_SIZE", "8");
  EXPECT_THAT([] { find_launch(1); }, ThrowsMessage<Error>(HasSubstr("WORLD_SIZE=4")));
  set("LOCAL_WORLD_SIZE", "4");
  EXPECT_EQ(find_launch(1).num_local, 4);
  set("OMPI_COMM_WORLD_RANK", "1");
  set("OMPI_COMM_WORLD_SIZE", "2");
  EXPECT_THAT([] { find_launch(1); },
              ThrowsMessage<Error>(HasSubstr("rank 1 of 2, RANK and WORLD_SIZE say rank 1 of 4")));
  set("OMPI_COMM_WORLD_SIZE", "4");
  EXPECT_EQ(find_launch(1).kind, LaunchKind::kMpi);
}

TEST_F(LaunchEnvironment, NonsenseIsNamed) {
  set("OMPI_COMM_WORLD_SIZE", "4");
  set("OMPI_COMM_WORLD_RANK", "4");
  EXPECT_THAT([] { detect_mpi_launch(); },
              ThrowsMessage<Error>(HasSubstr("OMPI_COMM_WORLD_RANK=4 and OMPI_COMM_WORLD_SIZE=4")));
  for (const char* wrong : {"", "two", "-1", "1x", "99999999999999"}) {
    set("OMPI_COMM_WORLD_RANK", wrong);
    EXPECT_THAT([] { detect_mpi_launch(); }, ThrowsMessage<Error>(HasSubstr("OMPI_COMM_WORLD_RANK")));
  }
}

}  // namespace
}  // namespace megalith
