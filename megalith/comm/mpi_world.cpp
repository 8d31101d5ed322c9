#include "megalith/comm/mpi_world.h"

#include <algorithm>
#include <cstring>

#include "megalith/base/text.h"
#include "megalith/comm/mpi_check.h"
#include "megalith/comm/mpi_requests.h"

namespace megalith {
namespace {

// A group has four tags; headers and payloads of collectives and of messages do not meet.
enum class Channel { kCollectiveHeader, kCollectivePayload, kMessageHeader, kMessagePayload };
int tag_of(const MpiGroup& group, Channel channel) {
  return group.id * 4 + static_cast<int>(channel);
}
Channel header_channel(MpiMatching matching) {
  return matching == MpiMatching::kCollective ? Channel::kCollectiveHeader : Channel::kMessageHeader;
}
Channel payload_channel(MpiMatching matching) {
  return matching == MpiMatching::kCollective ? Channel::kCollectivePayload : Channel::kMessagePayload;
}

// A leave that overtook a message: how long to look for the message.
constexpr auto kOvertaking = std::chrono::seconds(5);

}  // namespace

MpiWorld::MpiWorld(MPI_Comm parent, const MpiOptions& options)
    : options_(options), flight_([&] {
        int size = 0;
        MG_MPI_CHECK(MPI_Comm_size(parent, &size));
        return size;
      }()) {
  MG_MPI_CHECK(MPI_Comm_dup(parent, &data_));
  MG_MPI_CHECK(MPI_Comm_dup(parent, &control_));
  MG_MPI_CHECK(MPI_Comm_set_errhandler(data_, MPI_ERRORS_RETURN));
  MG_MPI_CHECK(MPI_Comm_set_errhandler(control_, MPI_ERRORS_RETURN));
  MG_MPI_CHECK(MPI_Comm_rank(data_, &rank_));
  MG_MPI_CHECK(MPI_Comm_size(data_, &size_));
  peers_.resize(static_cast<size_t>(size_));
  listen();
}

MpiWorld::~MpiWorld() {
  // The communicators stay until MPI_Finalize: a message of a failed run may still be on its way, and must
  // not meet the next run.
  cancel(listening_);
}

std::string MpiWorld::where(const MpiOperation& operation) const {
  return fmt::format("rank {}: {} (operation {} of '{}')", rank_, describe(operation.call), operation.number,
                     operation.group.name);
}

void MpiWorld::raise_peer_failure(const MpiOperation& operation) const {
  throw PeerFailure(fmt::format("{} was cut short because rank {} failed: {}", where(operation),
                                failure_->rank, failure_->reason));
}

void MpiWorld::check_alive(const MpiOperation& operation) {
  Lock lock(mutex_);
  poll();
  MG_CHECK(failure_ || !is_settled_, "{}: the run has ended", where(operation));
  if (!failure_) return;
  settle(lock);
  raise_peer_failure(operation);
}

std::optional<MpiWorld::Failure> MpiWorld::failure() const {
  const Lock lock(mutex_);
  return failure_;
}

void MpiWorld::set_next_group_id(int id) {
  int* largest = nullptr;
  int is_set = 0;
  const Lock lock(mutex_);
  MG_MPI_CHECK(MPI_Comm_get_attr(data_, MPI_TAG_UB, &largest, &is_set));
  MG_CHECK(is_set == 0 || id < *largest / 4, "this MPI has tags for {} groups; no more can be split",
           *largest / 4);
  next_group_id_ = id;
}

void MpiWorld::exchange(const MpiOperation& operation, const std::vector<MpiOutgoing>& outgoing,
                        const std::vector<MpiIncoming>& incoming, MpiPayload payload, MpiMatching matching) {
  Lock lock(mutex_);
  std::vector<Receiving> receiving;
  std::vector<MPI_Request> borrowed;
  try {
    for (const MpiIncoming& in : incoming) receiving.push_back({.target = in});
    for (Receiving& one : receiving) receive_header(operation, one, matching);
    for (const MpiOutgoing& out : outgoing) send(operation, out, payload, matching, borrowed);
    const auto begin = Clock::now();
    PollingPause pause;
    while (true) {
      poll();
      if (failure_) break;
      bool is_done = all_done(borrowed);
      for (Receiving& one : receiving) is_done &= progress(operation, one, matching);
      if (is_done) return;
      check_waiting(operation, receiving, begin);
      lock.unlock();
      pause.take();
      lock.lock();
    }
  } catch (const Error& error) {
    const bool is_first = !failure_;
    fail_with(rank_, error.what());
    abandon(receiving, borrowed);
    settle(lock);
    if (is_first) throw;
    raise_peer_failure(operation);
  }
  abandon(receiving, borrowed);
  settle(lock);
  raise_peer_failure(operation);
}

void MpiWorld::send(const MpiOperation& operation, const MpiOutgoing& out, MpiPayload payload,
                    MpiMatching matching, std::vector<MPI_Request>& borrowed) {
  const int to = operation.group.world_ranks[static_cast<size_t>(out.to)];
  const bool is_inline = out.bytes <= kInlineBytes;
  Header header;
  std::memset(static_cast<void*>(&header), 0, sizeof header);
  header.number = operation.number;
  header.payload_bytes = static_cast<int64_t>(out.bytes);
  header.call = operation.call;
  Sending& sending = sending_.emplace_back();
  sending.data.resize(kHeaderBytes + (is_inline ? out.bytes : 0));
  std::memcpy(sending.data.data(), &header, kHeaderBytes);
  if (is_inline && out.bytes > 0) std::memcpy(sending.data.data() + kHeaderBytes, out.data, out.bytes);
  post_send(data_, to, tag_of(operation.group, header_channel(matching)), sending.data.data(),
            sending.data.size(), sending.requests);
  ++peers_[static_cast<size_t>(to)].headers_sent;
  if (is_inline) return;

  const int tag = tag_of(operation.group, payload_channel(matching));
  if (payload == MpiPayload::kBorrowed) {
    post_send(data_, to, tag, out.data, out.bytes, borrowed);
  } else {
    Sending& copy = sending_.emplace_back();
    copy.data.assign(out.data, out.data + out.bytes);
    post_send(data_, to, tag, copy.data.data(), copy.data.size(), copy.requests);
  }
}

void MpiWorld::receive_header(const MpiOperation& operation, Receiving& receiving, MpiMatching matching) {
  const int from = operation.group.world_ranks[static_cast<size_t>(receiving.target.from)];
  receiving.header.resize(kHeaderBytes + kInlineBytes);
  post_receive(data_, from, tag_of(operation.group, header_channel(matching)), receiving.header.data(),
               receiving.header.size(), receiving.requests);
}

bool MpiWorld::progress(const MpiOperation& operation, Receiving& receiving, MpiMatching matching) {
  if (receiving.is_done) return true;
  if (!all_done(receiving.requests)) return false;
  if (receiving.has_header) return receiving.is_done = true;
  const MpiIncoming& target = receiving.target;
  const int from = operation.group.world_ranks[static_cast<size_t>(target.from)];
  receiving.has_header = true;
  ++peers_[static_cast<size_t>(from)].headers_received;
  check_header(operation, receiving, matching);
  if (target.bytes <= kInlineBytes) {
    if (target.bytes > 0) std::memcpy(target.data, receiving.header.data() + kHeaderBytes, target.bytes);
    return receiving.is_done = true;
  }
  post_receive(data_, from, tag_of(operation.group, payload_channel(matching)), target.data, target.bytes,
               receiving.requests);
  return false;
}

void MpiWorld::check_header(const MpiOperation& operation, const Receiving& receiving,
                            MpiMatching matching) const {
  Header header;
  std::memcpy(static_cast<void*>(&header), receiving.header.data(), kHeaderBytes);
  const CollectiveCall& own = operation.call;
  const CollectiveCall& theirs = header.call;
  const int from = operation.group.world_ranks[static_cast<size_t>(receiving.target.from)];
  if (matching == MpiMatching::kMessage) {
    const bool labels_agree =
        own.label == theirs.label || own.label.str().empty() || theirs.label.str().empty();
    MG_CHECK(own.dtype == theirs.dtype && own.count == theirs.count && labels_agree,
             "{} does not match rank {}: {}", where(operation), from, describe(theirs));
    return;
  }
  MG_CHECK(
      own == theirs && header.number == operation.number,
      "the ranks of '{}' disagree about operation {}: rank {} calls {}, rank {} calls {} (its operation {})",
      operation.group.name, operation.number, rank_, describe(own), from, describe(theirs), header.number);
  const int64_t row_bytes = std::max<int64_t>(1, own.count * static_cast<int64_t>(size_of(own.dtype)));
  const auto expected = static_cast<int64_t>(receiving.target.bytes);
  MG_CHECK(
      header.payload_bytes == expected,
      "the ranks of '{}' disagree about operation {}, {}: rank {} sends {} rows to rank {}, which expects {}",
      operation.group.name, operation.number, describe(own), from, header.payload_bytes / row_bytes, rank_,
      expected / row_bytes);
}

void MpiWorld::check_waiting(const MpiOperation& operation, const std::vector<Receiving>& receiving,
                             Clock::time_point begin) const {
  const auto now = Clock::now();
  const bool is_late = options_.timeout.count() > 0 && now > begin + options_.timeout;
  std::vector<std::string> missing;
  for (const Receiving& one : receiving) {
    if (one.is_done) continue;
    const int from = operation.group.world_ranks[static_cast<size_t>(one.target.from)];
    const Peer& peer = peers_[static_cast<size_t>(from)];
    if (!one.has_header && peer.headers_at_leave) {
      const bool has_come = peer.headers_received == *peer.headers_at_leave;
      MG_CHECK(!has_come && now < peer.left_at + kOvertaking,
               "{} waits for rank {}, which has finished without it", where(operation), from);
    }
    if (is_late) missing.push_back(fmt::format("{}", from));
  }
  MG_CHECK(!is_late, "{} has waited {} for {}; the last operations:\n{}", where(operation),
           human_duration(std::chrono::duration<double>(options_.timeout).count()),
           missing.empty() ? "its own message to be taken"
                           : (missing.size() > 1 ? "ranks " : "rank ") + join(missing, ", "),
           flight_.report_of(rank_));
}

void MpiWorld::abandon(std::vector<Receiving>& receiving, std::vector<MPI_Request>& borrowed) {
  sending_.push_back({.requests = std::move(borrowed)});
  for (Receiving& one : receiving) {
    if (one.is_done) continue;
    for (MPI_Request& request : one.requests)
      if (!one.has_header && request != MPI_REQUEST_NULL) MPI_Cancel(&request);
    abandoned_.push_back(std::move(one));
  }
}

}  // namespace megalith
