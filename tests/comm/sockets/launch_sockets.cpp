// Ranks that meet through sockets, each with its own connection; here all are threads of the test program. As
// many of them as the variable MG_RANKS_OF_PROCESS says meet in memory, as rank threads of one process do.
#include <cstdlib>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "megalith/comm/socket_launch.h"
#include "megalith/comm/socket_stream.h"

#include "tests/comm/launch.h"

namespace megalith {

int ranks_of_process(int num_ranks) {
  const char* text = std::getenv("MG_RANKS_OF_PROCESS");
  const int wanted = text == nullptr ? 1 : std::atoi(text);
  return num_ranks % wanted == 0 ? wanted : 1;
}

void launch(int num_ranks, const std::function<void(Communicator&)>& body) {
  const int port = SocketListener(0).port();  // free again at once
  std::exception_ptr first_error;
  std::mutex mutex;
  {
    std::vector<std::jthread> threads;
    const int of_process = ranks_of_process(num_ranks);
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
