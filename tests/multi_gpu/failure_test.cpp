// A rank goes wrong while its peers wait in kernels: all end in seconds and know why.
#include <chrono>
#include <thread>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;

struct Outcome {
  std::string message;
  double seconds = 0;
};

Outcome outcome_of(int num_ranks, std::chrono::milliseconds timeout,
                   const std::function<void(const GpuRank&)>& body) {
  const auto begin = std::chrono::steady_clock::now();
  Outcome outcome;
  try {
    on_gpus(num_ranks, body, timeout);
  } catch (const std::exception& error) {
    outcome.message = error.what();
  }
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return outcome;
}

int some_gpus() {
  return cuda_device_count() >= 4 ? 4 : 2;
}

TEST(GpuFailure, AThrowEndsThePeersThatWait) {
  MG_NEED_GPUS(2);
  const Outcome outcome = outcome_of(some_gpus(), std::chrono::seconds(40), [](const GpuRank& rank) {
    const Tensor x = rank.exec.zeros({1000}, DType::kF32);
    rank.world.all_reduce(x, ReduceOp::kSum, "first");
    rank.exec.synchronize();
    if (rank.rank() == 1) fail("disk is full");
    rank.world.all_reduce(x, ReduceOp::kSum, "second");
    rank.exec.synchronize();  // comes back when the kernel is ended
    rank.world.all_reduce(x, ReduceOp::kSum, "third");
    ADD_FAILURE() << "rank " << rank.rank() << " goes on";
  });
  EXPECT_EQ(outcome.message, "disk is full");
  EXPECT_LT(outcome.seconds, 25);
}

TEST(GpuFailure, ARankThatStaysAwayIsATimeOutWithNames) {
  MG_NEED_GPUS(2);
  const Outcome outcome = outcome_of(some_gpus(), std::chrono::seconds(3), [](const GpuRank& rank) {
    const auto group = rank.world.split({.name = "dp"});
    const Tensor x = rank.exec.zeros({1000}, DType::kF32);
    group->all_reduce(x, ReduceOp::kSum, "first");
    rank.exec.synchronize();
    if (rank.rank() == 1) {
      while (!rank.host.is_aborted()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    group->all_reduce(x, ReduceOp::kSum, "gradients");
    rank.exec.synchronize();
    group->all_reduce(x, ReduceOp::kSum, "third");
    ADD_FAILURE() << "rank " << rank.rank() << " goes on";
  });
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("rank "), HasSubstr("all_reduce sum f32[1000] 'gradients'"),
                                     HasSubstr("of 'dp'"), HasSubstr("3")));
  EXPECT_LT(outcome.seconds, 25);
}

// The first message makes NCCL connect the two, in which the rank's thread waits rather than its GPU.
TEST(GpuFailure, ARankThatStaysAwayFromAConnectionIsATimeOutWithNames) {
  MG_NEED_GPUS(2);
  const Outcome outcome = outcome_of(2, std::chrono::seconds(3), [](const GpuRank& rank) {
    const auto group = rank.world.split({.name = "ep"});
    const Tensor x = rank.exec.zeros({1000}, DType::kF32), y = rank.exec.zeros({1000}, DType::kF32);
    if (rank.rank() == 1) {
      while (!rank.host.is_aborted()) std::this_thread::sleep_for(std::chrono::milliseconds(10));
      return;
    }
    group->all_to_all(x, y, "tokens");
    rank.exec.synchronize();
    group->all_to_all(x, y, "more tokens");
    ADD_FAILURE() << "rank 0 goes on";
  });
  EXPECT_THAT(outcome.message, AllOf(HasSubstr("rank 0"), HasSubstr("all_to_all f32[500] per rank 'tokens'"),
                                     HasSubstr("of 'ep'"), HasSubstr("3")));
  EXPECT_LT(outcome.seconds, 25);
}

TEST(GpuFailure, AnAbortReachesOperationsBesideCompute) {
  MG_NEED_GPUS(2);
  const Outcome outcome = outcome_of(2, std::chrono::seconds(40), [](const GpuRank& rank) {
    const auto beside = rank.world.split({.name = "beside", .order = CommOrder::kBeside});
    const Tensor x = rank.exec.zeros({1000}, DType::kF32);
    if (rank.rank() == 1) {
      rank.world.abort("asked to");
      return;
    }
    beside->all_reduce(x);
    beside->wait();
    rank.exec.synchronize();
    beside->barrier();
    ADD_FAILURE() << "rank 0 goes on";
  });
  EXPECT_THAT(outcome.message, HasSubstr("asked to"));
  EXPECT_LT(outcome.seconds, 25);
}

TEST(GpuFailure, GroupsAreMadeAgainAfterAFailure) {
  MG_NEED_GPUS(2);
  for (int round = 0; round < 3; ++round) {
    on_gpus(2, [](const GpuRank& rank) {
      const Tensor x = rank.exec.from_host<float>(std::vector<float>{1, 2}, {2});
      rank.world.all_reduce(x);
      EXPECT_EQ(to_vector<double>(x), (std::vector<double>{2, 4}));
    });
  }
}

TEST(GpuFailure, TwoRanksOnOneGpuAreRefused) {
  MG_NEED_GPUS(1);
  try {
    run_ranks(2, [&](Communicator& host) {
      Exec exec({.device = {DeviceKind::kCuda, 0}, .num_threads = 1});
      const RankWorld world(host, exec);
    });
    FAIL() << "two ranks share a GPU";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("both on cuda:0"));
  }
}

}  // namespace
}  // namespace megalith
