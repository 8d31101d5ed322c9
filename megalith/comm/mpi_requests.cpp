#include "megalith/comm/mpi_requests.h"

#include <algorithm>
#include <thread>

#include "megalith/comm/mpi_check.h"

namespace megalith {
namespace {

constexpr size_t kPieceBytes = size_t{1} << 30;

template <class Post>
void in_pieces(size_t bytes, std::vector<MPI_Request>& requests, const Post& post) {
  for (size_t begin = 0; begin < bytes; begin += kPieceBytes) {
    MPI_Request request = MPI_REQUEST_NULL;
    post(begin, static_cast<int>(std::min(kPieceBytes, bytes - begin)), &request);
    requests.push_back(request);
  }
}

}  // namespace

void post_send(MPI_Comm comm, int to, int tag, const std::byte* data, size_t bytes,
               std::vector<MPI_Request>& requests) {
  in_pieces(bytes, requests, [&](size_t begin, int count, MPI_Request* request) {
    MG_MPI_CHECK(MPI_Isend(data + begin, count, MPI_BYTE, to, tag, comm, request));
  });
}

void post_receive(MPI_Comm comm, int from, int tag, std::byte* data, size_t bytes,
                  std::vector<MPI_Request>& requests) {
  in_pieces(bytes, requests, [&](size_t begin, int count, MPI_Request* request) {
    MG_MPI_CHECK(MPI_Irecv(data + begin, count, MPI_BYTE, from, tag, comm, request));
  });
}

bool all_done(std::vector<MPI_Request>& requests) {
  if (requests.empty()) return true;
  int is_done = 0;
  MG_MPI_CHECK(
      MPI_Testall(static_cast<int>(requests.size()), requests.data(), &is_done, MPI_STATUSES_IGNORE));
  if (is_done != 0) requests.clear();
  return is_done != 0;
}

void cancel(MPI_Request& request) {
  if (request == MPI_REQUEST_NULL) return;
  MPI_Cancel(&request);
  MPI_Wait(&request, MPI_STATUS_IGNORE);
}

void PollingPause::take() {
  constexpr auto kYielding = std::chrono::milliseconds(2);
  constexpr auto kNap = std::chrono::microseconds(50);
  if (std::chrono::steady_clock::now() < begin_ + kYielding)
    std::this_thread::yield();
  else
    std::this_thread::sleep_for(kNap);
}

}  // namespace megalith
