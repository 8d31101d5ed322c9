#pragma once
// defines: post_send, post_receive, all_done, cancel, PollingPause

#include <chrono>
#include <cstddef>
#include <vector>

#include <mpi.h>

namespace megalith {

/// Non-blocking, in pieces where MPI's int cannot count the bytes. The requests are added to the list.
void post_send(MPI_Comm comm, int to, int tag, const std::byte* data, size_t bytes,
               std::vector<MPI_Request>& requests);
void post_receive(MPI_Comm comm, int from, int tag, std::byte* data, size_t bytes,
                  std::vector<MPI_Request>& requests);

/// Looks once, and gives MPI a chance to move things on; finished requests become MPI_REQUEST_NULL.
bool all_done(std::vector<MPI_Request>& requests);

/// Ends a receive that may never come.
void cancel(MPI_Request& request);

/// Between two looks: yields at first, sleeps where the wait gets long, so that ranks that compute on the
/// same cores are not held up.
class PollingPause {
 public:
  void take();

 private:
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

}  // namespace megalith
