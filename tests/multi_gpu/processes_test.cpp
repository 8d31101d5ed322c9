// Processes with GPUs, here parts of one program: GPUs of one process reach each other, all of them sum
// together and send to each other, and end together.
#include <chrono>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/peer_access.h"
#include "megalith/ops/elementwise.h"

#include "tests/comm/run_processes.h"
#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

constexpr int kProcesses = 2, kOfProcess = 2;

void on_processes(int gpus_of_process,
                  const std::function<void(Communicator& host, Communicator& world, Exec& exec)>& body) {
  constexpr auto kTimeout = std::chrono::seconds(30);
  run_processes(kProcesses, gpus_of_process, {.timeout = kTimeout}, [&](Communicator& host) {
    Exec exec({.device = {DeviceKind::kCuda, host.rank()}, .num_threads = 1});
    const RankWorld world(host, exec, {.timeout = kTimeout});
    world.run([&](Communicator& comm) {
      body(host, comm, exec);
      exec.synchronize();
    });
  });
}

TEST(GpuProcesses, ReachThePeersOfTheirProcessAndSumWithAll) {
  MG_NEED_GPUS(kProcesses * kOfProcess);
  on_processes(kOfProcess, [](Communicator& host, Communicator& world, Exec& exec) {
    EXPECT_FALSE(world.is_one_process());
    EXPECT_EQ(make_peer_access(world), nullptr);
    const auto group = [&](const char* name, int64_t colour) {
      return world.split({.colour = colour, .key = host.rank(), .name = name, .order = CommOrder::kBeside});
    };
    const auto inside = group("inside", host.rank() / kOfProcess), across = group("across", host.rank() % 2);
    EXPECT_TRUE(inside->is_one_process());
    EXPECT_NE(make_peer_access(*inside), nullptr);
    EXPECT_FALSE(across->is_one_process());
    EXPECT_EQ(make_peer_access(*across), nullptr);
    // Large enough for copy engines.
    const Tensor x = exec.empty({1 << 20}, DType::kF32);
    const auto sum_over = [&](Communicator& ranks) {
      fill(x, 1 << host.rank(), exec);
      ranks.all_reduce(x);
      ranks.wait();
      return to_vector<float>(x.slice(0, (1 << 20) - 1, 1 << 20))[0];
    };
    EXPECT_EQ(sum_over(*inside), host.rank() < 2 ? 3 : 12);
    EXPECT_EQ(sum_over(*across), host.rank() % 2 == 0 ? 5 : 10);
    EXPECT_EQ(sum_over(world), 15);
  });
}

TEST(GpuProcesses, MessagesReachEveryRankOnceAllAskForIt) {
  MG_NEED_GPUS(kProcesses * kOfProcess);
  on_processes(kOfProcess, [](Communicator& host, Communicator& world, Exec& exec) {
    const auto ring = world.split({.name = "ring"});
    const Tensor own = exec.empty({4}, DType::kF32), other = exec.empty({4}, DType::kF32);
    fill(own, host.rank(), exec);
    const auto receive = [&](int from) {
      ring->recv(other, from);
      EXPECT_EQ(to_vector<float>(other), std::vector<float>(4, static_cast<float>(from)));
    };
    // Connected by the first message, which all ranks send.
    ring->send(own, (host.rank() + 1) % 4);
    receive((host.rank() + 3) % 4);
    const int opposite = (host.rank() + 2) % 4;
    EXPECT_THROW(world.split({.name = "neighbours"})->send(own, opposite), Error);
    ring->reach_all();
    if (host.rank() % 2 == 0) {  // the others send nothing
      ring->send(own, opposite);
      receive(opposite);
    }
    host.barrier();
  });
}

TEST(GpuProcesses, SendsWaitForNobody) {
  MG_NEED_GPUS(kProcesses);
  on_processes(1, [](Communicator& host, Communicator& world, Exec& exec) {
    constexpr int64_t kCount = 1 << 20;
    const auto ring = world.split({.name = "ring", .order = CommOrder::kBeside});
    std::vector<Tensor> sent(3);
    for (size_t i = 0; i < sent.size(); ++i) {
      sent[i] = exec.empty({kCount}, DType::kF32);
      fill(sent[i], static_cast<double>(10 * host.rank()) + static_cast<double>(i), exec);
      ring->send(sent[i], 1 - host.rank());
    }
    for (size_t i = 0; i < sent.size(); ++i) {
      const Tensor received = exec.empty({kCount}, DType::kF32);
      ring->recv(received, 1 - host.rank());
      ring->wait();
      EXPECT_EQ(
          to_vector<float>(received),
          std::vector<float>(kCount, static_cast<float>(10 * (1 - host.rank())) + static_cast<float>(i)));
    }
  });
}

TEST(GpuProcesses, AThrowEndsAPeerThatWaitsForMessages) {
  MG_NEED_GPUS(kProcesses);
  const auto begin = std::chrono::steady_clock::now();
  std::string message;
  try {
    on_processes(1, [](Communicator& host, Communicator& world, Exec& exec) {
      const auto ring = world.split({.name = "ring", .order = CommOrder::kBeside});
      const auto gradients = world.split({.name = "gradients", .order = CommOrder::kBeside});
      const Tensor x = exec.zeros({1 << 20}, DType::kF32), y = exec.zeros({1 << 20}, DType::kF32);
      const int peer = 1 - host.rank();
      ring->send(x, peer);
      ring->recv(y, peer);
      ring->wait();
      exec.synchronize();
      if (host.rank() == 1) fail("out of paper");
      // Kernels of several groups, one behind the other, wait for a rank that does not come.
      ring->send(x, peer);
      ring->recv(y, peer);
      gradients->all_reduce(x);
      gradients->wait();
      world.all_reduce(y);
      exec.synchronize();
      world.all_reduce(y);
      ADD_FAILURE() << "rank 0 goes on";
    });
  } catch (const std::exception& error) {
    message = error.what();
  }
  EXPECT_EQ(message, "out of paper");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(25));
}

}  // namespace
}  // namespace megalith
