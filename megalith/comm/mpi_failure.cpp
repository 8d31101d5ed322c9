// The part of MpiWorld that tells the ranks of a failure and brings a run to its end.
#include <algorithm>
#include <cstring>

#include "megalith/base/log.h"
#include "megalith/base/text.h"
#include "megalith/comm/mpi_check.h"
#include "megalith/comm/mpi_requests.h"
#include "megalith/comm/mpi_world.h"

namespace megalith {

namespace {
constexpr int kNoticeTag = 0;
}

void MpiWorld::listen() {
  MG_MPI_CHECK(
      MPI_Irecv(&heard_, sizeof heard_, MPI_BYTE, MPI_ANY_SOURCE, kNoticeTag, control_, &listening_));
}

void MpiWorld::notify(const Notice& notice, int to) {
  Sending& sending = sending_.emplace_back();
  const auto* bytes = reinterpret_cast<const std::byte*>(&notice);
  sending.data.assign(bytes, bytes + sizeof notice);
  post_send(control_, to, kNoticeTag, sending.data.data(), sending.data.size(), sending.requests);
}

void MpiWorld::poll() {
  if (is_settled_) return;
  for (int has_heard = 1; has_heard != 0;) {
    MG_MPI_CHECK(MPI_Test(&listening_, &has_heard, MPI_STATUS_IGNORE));
    if (has_heard == 0) break;
    if (heard_.kind == Notice::Kind::kFailure && !failure_) {
      failure_ = Failure{heard_.rank, heard_.reason};
      failed_at_ = Clock::now();
    } else if (heard_.kind == Notice::Kind::kLeave) {
      Peer& peer = peers_[static_cast<size_t>(heard_.rank)];
      peer.headers_at_leave = heard_.num_headers;
      peer.left_at = Clock::now();
    }
    listen();
  }
  poll_sends();
}

void MpiWorld::poll_sends() {
  std::erase_if(sending_, [](Sending& sending) { return all_done(sending.requests); });
}

void MpiWorld::abort(const std::string& reason) {
  const Lock lock(mutex_);
  poll();
  fail_with(rank_, reason.empty() ? "no reason given" : reason);
}

bool MpiWorld::hears_of_failure() {
  const Lock lock(mutex_);
  poll();
  return failure_.has_value();
}

void MpiWorld::fail_with(int rank, const std::string& reason) {
  if (failure_ || is_settled_) return;
  failure_ = Failure{rank, reason};
  failed_at_ = Clock::now();
  Notice notice;
  std::memset(static_cast<void*>(&notice), 0, sizeof notice);
  notice.kind = Notice::Kind::kFailure;
  notice.rank = rank;
  const size_t length = std::min(reason.size(), sizeof notice.reason - 1);
  std::memcpy(notice.reason, reason.data(), length);
  for (int to = 0; to < size_; ++to)
    if (to != rank_) notify(notice, to);
}

void MpiWorld::finish() {
  Lock lock(mutex_);
  settle(lock);
}

// All that this rank sent is taken by its peers before it says that it is done, and it takes what its peers
// send until all of them are done: so no message and no buffer is left behind.
void MpiWorld::settle(Lock& lock) {
  if (is_settled_) return;
  flight_.leave(rank_);
  Notice notice;
  std::memset(static_cast<void*>(&notice), 0, sizeof notice);
  notice.kind = Notice::Kind::kLeave;
  notice.rank = rank_;
  for (int to = 0; to < size_; ++to) {
    notice.num_headers = peers_[static_cast<size_t>(to)].headers_sent;
    if (to != rank_) notify(notice, to);
  }
  std::vector<MPI_Request> agreement;
  int has_failed = 0;
  int has_any_failed = 0;
  PollingPause pause;
  while (true) {
    poll();
    drain();
    std::erase_if(abandoned_, [](Receiving& one) { return all_done(one.requests); });
    if (agreement.empty() && sending_.empty() && abandoned_.empty()) {
      has_failed = failure_ ? 1 : 0;
      MG_MPI_CHECK(MPI_Iallreduce(&has_failed, &has_any_failed, 1, MPI_INT, MPI_MAX, control_,
                                  &agreement.emplace_back(MPI_REQUEST_NULL)));
    }
    // The notice of a failure that came while this rank was done is on its way.
    if (!agreement.empty() && agreement[0] != MPI_REQUEST_NULL) {
      int is_done = 0;
      MG_MPI_CHECK(MPI_Test(agreement.data(), &is_done, MPI_STATUS_IGNORE));
    }
    const bool is_agreed = !agreement.empty() && agreement[0] == MPI_REQUEST_NULL && sending_.empty();
    if (is_agreed && (failure_ || has_any_failed == 0)) break;
    kill_if_overdue();
    lock.unlock();
    pause.take();
    lock.lock();
  }
  is_settled_ = true;
}

// Receives for nobody what the peers sent to operations that will not be.
void MpiWorld::drain() {
  while (true) {
    int has_message = 0;
    MPI_Message message;
    MPI_Status status;
    MG_MPI_CHECK(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, data_, &has_message, &message, &status));
    if (has_message == 0) return;
    int bytes = 0;
    MG_MPI_CHECK(MPI_Get_count(&status, MPI_BYTE, &bytes));
    Receiving& sink = abandoned_.emplace_back();
    sink.header.resize(static_cast<size_t>(bytes));
    MG_MPI_CHECK(MPI_Imrecv(sink.header.data(), bytes, MPI_BYTE, &message,
                            &sink.requests.emplace_back(MPI_REQUEST_NULL)));
  }
}

void MpiWorld::kill_if_overdue() {
  if (!failure_ || Clock::now() < failed_at_ + options_.grace) return;
  std::vector<std::string> missing;
  for (int rank = 0; rank < size_; ++rank)
    if (rank != rank_ && !peers_[static_cast<size_t>(rank)].headers_at_leave)
      missing.push_back(fmt::format("{}", rank));
  log_error("rank {}: rank {} failed: {}", rank_, failure_->rank, failure_->reason);
  log_error("rank {}: rank{} {} did not stop within {}: the job is killed", rank_,
            missing.size() == 1 ? "" : "s", join(missing, ", "),
            human_duration(std::chrono::duration<double>(options_.grace).count()));
  MPI_Abort(MPI_COMM_WORLD, 1);
}

}  // namespace megalith
