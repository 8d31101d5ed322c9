#pragma once
// defines: run_processes

#include <functional>
#include <thread>
#include <vector>

#include "megalith/comm/first_error.h"
#include "megalith/comm/socket_launch.h"
#include "megalith/comm/socket_stream.h"

namespace megalith {

/// Runs `body` in the ranks of several processes, which are parts of this program here. Throws what the first
/// rank to fail threw.
inline void run_processes(int num_processes, int num_threads, const SocketOptions& options,
                          const std::function<void(Communicator&)>& body) {
  const int port = SocketListener(0).port();  // free again at once
  FirstError first_error;
  {
    std::vector<std::jthread> processes;
    for (int process = 0; process < num_processes; ++process)
      processes.emplace_back([&, process] {
        try {
          run_socket_ranks({.rank = process,
                            .size = num_processes,
                            .address = "127.0.0.1",
                            .port = port,
                            .num_threads = num_threads},
                           options, body);
        } catch (const PeerFailure&) {
          // Follows from what another rank threw.
        } catch (...) {
          first_error.keep(std::current_exception());
        }
      });
  }
  first_error.rethrow();
}

}  // namespace megalith
