// One of three processes goes wrong: the job ends in seconds, with a status that says so, and the messages
// name who failed, why, and what the others were doing.
#include <chrono>
#include <cstdio>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/wait.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::Not;

struct Outcome {
  int status = 0;
  double seconds = 0;
  std::string text;
};

Outcome run_probe(const std::string& fault, int num_ranks = 3) {
  const auto begin = std::chrono::steady_clock::now();
  const std::string command =
      fmt::format("timeout -k 1 50 {} -np {} {} {} 2>&1", MG_MPIRUN, num_ranks, MG_FAULT_PROBE, fault);
  Outcome outcome;
  FILE* pipe = popen(command.c_str(), "r");
  MG_CHECK(pipe != nullptr, "{}: cannot be started", command);
  char buffer[4096];
  for (size_t n = 0; (n = fread(buffer, 1, sizeof buffer, pipe)) > 0;) outcome.text.append(buffer, n);
  const int status = pclose(pipe);
  outcome.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  outcome.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return outcome;
}

TEST(MpiFault, NoneEndsWell) {
  const Outcome outcome = run_probe("none");
  EXPECT_EQ(outcome.status, 0) << outcome.text;
  EXPECT_THAT(outcome.text, HasSubstr("rank 2 of 3 is through"));
}

TEST(MpiFault, AThrowIsNamedByAllRanks) {
  const Outcome outcome = run_probe("throw");
  EXPECT_NE(outcome.status, 0);
  EXPECT_LT(outcome.seconds, 20);
  EXPECT_THAT(outcome.text, HasSubstr("usage error: shard 5 is missing"));
  EXPECT_THAT(outcome.text, HasSubstr("rank 0 ends because rank 2 failed: shard 5 is missing"));
  EXPECT_THAT(outcome.text, HasSubstr("rank 1 ends because rank 2 failed: shard 5 is missing"));
  EXPECT_THAT(outcome.text, HasSubstr("6 of 'dp' all_reduce avg f32[300000] 'grads' (waiting for"));
  EXPECT_THAT(outcome.text, HasSubstr("5 of 'dp' all_reduce avg"));
}

TEST(MpiFault, AMessageOnItsWayHoldsNothingUp) {
  const Outcome outcome = run_probe("send_and_throw");
  EXPECT_NE(outcome.status, 0);
  EXPECT_LT(outcome.seconds, 20);
  EXPECT_THAT(outcome.text, HasSubstr("rank 0 ends because rank 2 failed: gave up behind a message"));
  EXPECT_THAT(outcome.text, Not(HasSubstr("the job is killed")));
}

TEST(MpiFault, AbortReachesEverybody) {
  const Outcome outcome = run_probe("abort");
  EXPECT_NE(outcome.status, 0);
  EXPECT_THAT(outcome.text, HasSubstr("rank 2 aborted: a person asked for it"));
  EXPECT_THAT(outcome.text, HasSubstr("rank 1 ends because rank 2 failed: a person asked for it"));
}

TEST(MpiFault, DifferentCallsAreShown) {
  const Outcome outcome = run_probe("mismatch");
  EXPECT_NE(outcome.status, 0);
  EXPECT_LT(outcome.seconds, 20);
  EXPECT_THAT(outcome.text, HasSubstr("the ranks of 'dp' disagree about operation 6"));
  EXPECT_THAT(outcome.text, HasSubstr("all_reduce max f32[300000] 'other grads'"));
}

TEST(MpiFault, ARankThatHasFinishedIsNotWaitedFor) {
  const Outcome outcome = run_probe("leave");
  EXPECT_NE(outcome.status, 0);
  EXPECT_LT(outcome.seconds, 20);
  EXPECT_THAT(outcome.text, HasSubstr("waits for rank 2, which has finished without it"));
}

TEST(MpiFault, AStalledRankRunsIntoTheTimeOut) {
  const Outcome outcome = run_probe("stall");
  EXPECT_NE(outcome.status, 0);
  EXPECT_LT(outcome.seconds, 25);
  EXPECT_THAT(outcome.text, HasSubstr("has waited 2"));
  EXPECT_THAT(outcome.text, HasSubstr("rank 2 did not stop within 3"));
}

TEST(MpiFault, ARankThatHearsNothingIsKilledWithTheJob) {
  const Outcome outcome = run_probe("hang");
  EXPECT_NE(outcome.status, 0);
  EXPECT_LT(outcome.seconds, 25);
  EXPECT_THAT(outcome.text, HasSubstr("rank 0 failed: one rank of two that go wrong"));
  EXPECT_THAT(outcome.text, HasSubstr("rank 2 did not stop within 3"));
}

TEST(MpiFault, AKilledRankEndsTheJob) {
  const Outcome outcome = run_probe("kill");
  EXPECT_NE(outcome.status, 0);
  EXPECT_LT(outcome.seconds, 20);
  EXPECT_THAT(outcome.text, HasSubstr("rank 2"));
  EXPECT_THAT(outcome.text, HasSubstr("signal 9"));
}

}  // namespace
}  // namespace megalith
