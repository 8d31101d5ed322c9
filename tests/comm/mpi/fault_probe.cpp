// A program of ranks of which one goes wrong, in the way that the first argument says. The last rank is the
// one; the others work until they notice.
#include <csignal>
#include <cstdio>
#include <string>
#include <thread>

#include <unistd.h>

#include "megalith/base/log.h"
#include "megalith/comm/mpi_launch.h"

#include "tests/comm/rank_tensors.h"

namespace megalith {
namespace {

constexpr int64_t kLong = 300'000;  // elements: messages that wait for their receiver

void go_wrong(const std::string& fault, Communicator& comm, RankTensors& tensors) {
  const Tensor x = tensors.filled<float>(kLong, 1);
  if (fault == "throw") throw UsageError("shard 5 is missing");
  if (fault == "abort") comm.abort("a person asked for it");
  if (fault == "kill") ::kill(::getpid(), SIGKILL);
  if (fault == "stall") std::this_thread::sleep_for(std::chrono::seconds(60));
  if (fault == "hang") {
    comm.send(tensors.filled<float>(1, 1), 0);
    ::pause();  // and hears of no failure
  }
  if (fault == "mismatch") comm.all_reduce(x, ReduceOp::kMax, "other grads");
  if (fault == "send_and_throw") {
    comm.send(x, 0);
    fail("gave up behind a message");
  }
}

void body(const std::string& fault, Communicator& world) {
  RankTensors tensors;
  const auto group = world.split({.name = "dp"});
  const Tensor x = tensors.filled<float>(kLong, 1);
  const bool is_wrong = group->rank() == group->size() - 1;
  for (int i = 0; i < 5; ++i) {
    group->all_reduce(x, ReduceOp::kAvg, "grads");
    MG_CHECK(x.data<float>()[kLong - 1] == 1.0f, "wrong sum");
  }
  if (fault == "none") return;
  if (is_wrong) {
    go_wrong(fault, *group, tensors);
    if (fault == "leave") return;
  }
  if (fault == "hang" && group->rank() == 0) {
    group->recv(tensors.filled<float>(1, 0), group->size() - 1);  // it is through with the sums
    fail("one rank of two that go wrong");
  }
  while (true) group->all_reduce(x, ReduceOp::kAvg, "grads");
}

int run(const std::string& fault) {
  const auto launch = detect_mpi_launch();
  MG_CHECK(launch.has_value(), "start the probe through mpirun");
  const MpiOptions options{.timeout = std::chrono::seconds(fault == "stall" ? 2 : 60),
                           .grace = std::chrono::seconds(3)};
  MpiSession session;
  MG_CHECK(session.rank() == launch->rank && session.size() == launch->size,
           "the environment says rank {} of {}, MPI says {} of {}", launch->rank, launch->size,
           session.rank(), session.size());
  try {
    session.run(options, [&](Communicator& world) { body(fault, world); });
  } catch (const PeerFailure& error) {
    log_error("peer failure: {}", error.what());
    return 1;
  } catch (const UsageError& error) {
    log_error("usage error: {}", error.what());
    return 2;
  } catch (const Error& error) {
    log_error("error: {}", error.what());
    return 1;
  }
  std::printf("rank %d of %d is through\n", session.rank(), session.size());
  return 0;
}

}  // namespace
}  // namespace megalith

int main(int argc, char** argv) {
  return megalith::run(argc > 1 ? argv[1] : "none");
}
