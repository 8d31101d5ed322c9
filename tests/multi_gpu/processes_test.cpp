// Processes with two GPUs each, here parts of one program: GPUs of one process reach each other, and all of
// them sum together.
#include <exception>
#include <mutex>
#include <thread>

#include <gtest/gtest.h>

#include "megalith/comm/peer_access.h"
#include "megalith/comm/socket_launch.h"
#include "megalith/comm/socket_stream.h"
#include "megalith/ops/elementwise.h"

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

constexpr int kProcesses = 2, kOfProcess = 2;

void on_processes(const std::function<void(Communicator& host, Communicator& world, Exec& exec)>& body) {
  const int port = SocketListener(0).port();  // free again at once
  std::mutex mutex;
  std::exception_ptr first_error;
  {
    std::vector<std::jthread> processes;
    for (int process = 0; process < kProcesses; ++process)
      processes.emplace_back([&, process] {
        try {
          run_socket_ranks({.rank = process,
                            .size = kProcesses,
                            .address = "127.0.0.1",
                            .port = port,
                            .num_threads = kOfProcess},
                           {.timeout = std::chrono::seconds(30)}, [&](Communicator& host) {
                             Exec exec({.device = {DeviceKind::kCuda, host.rank()}, .num_threads = 1});
                             const RankWorld world(host, exec, {.timeout = std::chrono::seconds(30)});
                             world.run([&](Communicator& comm) {
                               body(host, comm, exec);
                               exec.synchronize();
                             });
                           });
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!first_error) first_error = std::current_exception();
        }
      });
  }
  if (first_error) std::rethrow_exception(first_error);
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
