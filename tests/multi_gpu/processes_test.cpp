// Processes with two GPUs each, here parts of one program: GPUs of one process reach each other, and all of
// them sum together.
#include <gtest/gtest.h>

#include "megalith/comm/peer_access.h"
#include "megalith/ops/elementwise.h"

#include "tests/comm/run_processes.h"
#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

constexpr int kProcesses = 2, kOfProcess = 2;

void on_processes(const std::function<void(Communicator& host, Communicator& world, Exec& exec)>& body) {
  constexpr auto kTimeout = std::chrono::seconds(30);
  run_processes(kProcesses, kOfProcess, {.timeout = kTimeout}, [&](Communicator& host) {
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
  on_processes([](Communicator& host, Communicator& world, Exec& exec) {
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

}  // namespace
}  // namespace megalith
