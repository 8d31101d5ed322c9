// Ranks that meet through sockets, each with its own connection; here all are threads of the test program. In
// MG_RANKS_OF_PROCESS as many of them meet in memory, as the rank threads of one process do.
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "megalith/comm/socket_launch.h"
#include "megalith/comm/socket_stream.h"

#include "tests/comm/launch.h"

namespace megalith {

constexpr int kRanksOfProcess = MG_RANKS_OF_PROCESS;

void launch(int num_ranks, const std::function<void(Communicator&)>& body) {
  const int port = SocketListener(0).port();  // free again at once
  std::exception_ptr first_error;
  std::mutex mutex;
  {
    std::vector<std::jthread> threads;
    const int of_process = num_ranks % kRanksOfProcess == 0 ? kRanksOfProcess : 1;
    const int num_processes = num_ranks / of_process;
    for (int process = 0; process < num_processes; ++process) {
      threads.emplace_back([&, process] {
        try {
          run_socket_ranks({.rank = process,
                            .size = num_processes,
                            .address = "127.0.0.1",
                            .port = port,
                            .num_threads = of_process},
                           {.timeout = std::chrono::seconds(20), .connect_timeout = std::chrono::seconds(10)},
                           body);
        } catch (const PeerFailure&) {
          // Follows from what another rank threw.
        } catch (...) {
          const std::lock_guard lock(mutex);
          if (!first_error) first_error = std::current_exception();
        }
      });
    }
  }
  if (first_error) std::rethrow_exception(first_error);
}

}  // namespace megalith
