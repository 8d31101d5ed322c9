// Ranks that meet through sockets, each with its own connection; here all are threads of the test program.
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "megalith/comm/socket_launch.h"
#include "megalith/comm/socket_stream.h"

#include "tests/comm/launch.h"

namespace megalith {

void launch(int num_ranks, const std::function<void(Communicator&)>& body) {
  const int port = SocketListener(0).port();  // free again at once
  std::exception_ptr first_error;
  std::mutex mutex;
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < num_ranks; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          run_socket_rank({.rank = rank, .size = num_ranks, .address = "127.0.0.1", .port = port},
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
