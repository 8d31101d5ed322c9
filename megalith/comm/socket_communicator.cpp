#include "megalith/comm/socket_communicator.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "megalith/comm/reduce.h"
#include "megalith/comm/thread_communicator.h"

namespace megalith {
namespace {

bool is_message(CollectiveKind kind) {
  return kind == CollectiveKind::kSend || kind == CollectiveKind::kRecv || kind == CollectiveKind::kSendRecv;
}

bool has_block_per_rank(CollectiveKind kind) {
  return kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kAllToAll ||
         kind == CollectiveKind::kScatter;
}

void copy(std::byte* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}

std::string bytes_of(const std::byte* data, size_t bytes) {
  return {reinterpret_cast<const char*>(data), bytes};
}

}  // namespace

SocketCommunicator::SocketCommunicator(std::shared_ptr<SocketWorld> world, std::shared_ptr<LocalRanks> local)
    : Communicator(world->rank(), world->size(), "world", DeviceKind::kCpu),
      world_(std::move(world)),
      local_(std::move(local)),
      id_("world"),
      world_ranks_(static_cast<size_t>(size())) {
  std::iota(world_ranks_.begin(), world_ranks_.end(), 0);
}

SocketCommunicator::SocketCommunicator(const SocketCommunicator& parent, std::string id, std::string name,
                                       int rank, std::vector<int> world_ranks)
    : Communicator(rank, static_cast<int>(world_ranks.size()), std::move(name), DeviceKind::kCpu),
      world_(parent.world_),
      local_(parent.local_),
      id_(std::move(id)),
      world_ranks_(std::move(world_ranks)) {}

std::string SocketCommunicator::where(const CollectiveCall& call, int64_t number) const {
  return fmt::format("rank {}: {} (operation {} of '{}')", world_->rank(), describe(call), number, name());
}

void SocketCommunicator::run(const Collective& c) {
  if (is_message(c.call.kind)) return run_message(c);
  run_together(c);
}

std::vector<std::string> SocketCommunicator::exchange(const CollectiveCall& call, std::string own) {
  const int64_t number = ++number_;
  world_->flight().start(world_->rank(), Label(name()), number, call);
  world_->check_alive(where(call, number));
  world_->send({.kind = SocketMessage::Kind::kExchange,
                .rank = world_->rank(),
                .place = rank(),
                .size = size(),
                .number = number,
                .group = id_,
                .call = describe(call),
                .payload = std::move(own)});
  const std::string all = world_->wait_for_reply(id_, number, where(call, number));
  std::vector<std::string> payloads;
  for (size_t at = 0; at < all.size();) {
    int64_t length = 0;
    std::memcpy(&length, all.data() + at, sizeof length);
    payloads.push_back(all.substr(at + sizeof length, static_cast<size_t>(length)));
    at += sizeof length + static_cast<size_t>(length);
  }
  MG_ASSERT(static_cast<int>(payloads.size()) == size());
  world_->flight().finish(world_->rank());
  return payloads;
}

void SocketCommunicator::run_message(const Collective& c) {
  const int64_t number = ++message_number_;
  world_->flight().start(world_->rank(), Label(name()), number, c.call);
  world_->check_alive(where(c.call, number));
  if (c.call.kind != CollectiveKind::kRecv)
    world_->send(
        {.kind = SocketMessage::Kind::kSend,
         .rank = world_->rank(),
         .place = rank(),
         .size = c.call.peer,
         .group = id_,
         .payload = fmt::format("{} {} {}", name_of(c.call.dtype), c.call.count, c.call.label.str()) + '\n' +
                    bytes_of(c.in, c.block_bytes())});
  if (c.call.kind != CollectiveKind::kSend) {
    world_->send({.kind = SocketMessage::Kind::kReceive,
                  .rank = world_->rank(),
                  .place = c.from,
                  .size = rank(),
                  .number = number,
                  .group = id_});
    const std::string message = world_->wait_for_reply(id_, -number, where(c.call, number));
    const size_t end = message.find('\n');
    const std::string what = message.substr(0, end);
    const std::string expected = fmt::format("{} {} ", name_of(c.call.dtype), c.call.count);
    const std::string label = what.size() > expected.size() ? what.substr(expected.size()) : "";
    const bool labels_agree = label.empty() || c.call.label.str().empty() || label == c.call.label.str();
    if (!what.starts_with(expected) || !labels_agree || message.size() - end - 1 != c.block_bytes()) {
      const std::string reason = fmt::format("{} does not match what rank {} of the group sent: {}",
                                             where(c.call, number), c.from, what);
      world_->abort(reason);
      fail("{}", reason);
    }
    copy(c.out, message.data() + end + 1, c.block_bytes());
  }
  world_->flight().finish(world_->rank());
}

void SocketCommunicator::run_together(const Collective& c) {
  const size_t bytes = c.block_bytes();
  const auto own = static_cast<size_t>(rank());
  const CollectiveKind kind = c.call.kind;
  size_t in_bytes = bytes * (has_block_per_rank(kind) ? static_cast<size_t>(size()) : 1);
  const bool is_from_root = kind == CollectiveKind::kBroadcast || kind == CollectiveKind::kScatter;
  if (kind == CollectiveKind::kBarrier || (is_from_root && rank() != c.call.peer)) in_bytes = 0;
  std::string sent = bytes_of(c.in, in_bytes);
  if (kind == CollectiveKind::kAllToAllV) {
    const int64_t rows = std::accumulate(c.send_counts.begin(), c.send_counts.end(), int64_t{0});
    sent = bytes_of(reinterpret_cast<const std::byte*>(c.send_counts.data()), c.send_counts.size_bytes()) +
           bytes_of(c.in, static_cast<size_t>(rows) * bytes);
  }
  const std::vector<std::string> all = exchange(c.call, std::move(sent));
  const auto data = [&](size_t r) { return reinterpret_cast<const std::byte*>(all[r].data()); };
  switch (kind) {
    case CollectiveKind::kAllReduce:
    case CollectiveKind::kReduceScatter: {
      const size_t offset = kind == CollectiveKind::kAllReduce ? 0 : own * bytes;
      std::vector<const std::byte*> inputs;
      for (size_t r = 0; r < all.size(); ++r) inputs.push_back(data(r) + offset);
      return reduce_elements(c.call.dtype, c.call.op, inputs, c.out, c.call.count);
    }
    case CollectiveKind::kGather:
      if (rank() != c.call.peer) return;
      [[fallthrough]];
    case CollectiveKind::kAllGather:
      for (size_t r = 0; r < all.size(); ++r) copy(c.out + r * bytes, data(r), bytes);
      return;
    case CollectiveKind::kBroadcast:
      return copy(c.out, data(static_cast<size_t>(c.call.peer)), bytes);
    case CollectiveKind::kScatter:
      return copy(c.out, data(static_cast<size_t>(c.call.peer)) + own * bytes, bytes);
    case CollectiveKind::kAllToAll:
      for (size_t r = 0; r < all.size(); ++r) copy(c.out + r * bytes, data(r) + own * bytes, bytes);
      return;
    case CollectiveKind::kAllToAllV: {
      std::byte* out = c.out;
      for (size_t r = 0; r < all.size(); ++r) {
        std::vector<int64_t> counts(all.size());
        std::memcpy(counts.data(), data(r), counts.size() * sizeof(int64_t));
        const int64_t rows = counts[own];
        if (rows != c.recv_counts[r])
          fail(
              "the ranks of '{}' disagree about operation {}, {}: rank {} sends {} rows to rank {}, which "
              "expects {}",
              name(), number_, describe(c.call), r, rows, own, c.recv_counts[r]);
        const int64_t before = std::accumulate(counts.begin(), counts.begin() + rank(), int64_t{0});
        copy(out, data(r) + counts.size() * sizeof(int64_t) + static_cast<size_t>(before) * bytes,
             static_cast<size_t>(rows) * bytes);
        out += static_cast<size_t>(rows) * bytes;
      }
      return;
    }
    default:
      return;  // a barrier
  }
}

std::unique_ptr<Communicator> SocketCommunicator::run_split(const SplitOptions& options) {
  const int64_t own[2] = {options.colour, options.key};
  const CollectiveCall call{.kind = CollectiveKind::kSplit};
  const std::vector<std::string> all = exchange(call, {reinterpret_cast<const char*>(own), sizeof own});
  std::vector<std::pair<int64_t, int>> members;  // key, rank
  for (int r = 0; r < size(); ++r) {
    int64_t choice[2];
    std::memcpy(choice, all[static_cast<size_t>(r)].data(), sizeof choice);
    if (choice[0] == options.colour) members.push_back({choice[1], r});
  }
  if (options.colour == SplitOptions::kNoColour) return nullptr;
  std::sort(members.begin(), members.end());
  std::vector<int> world_ranks;
  int own_place = 0;
  for (const auto& [key, member] : members) {
    if (member == rank()) own_place = static_cast<int>(world_ranks.size());
    world_ranks.push_back(world_ranks_[static_cast<size_t>(member)]);
  }
  const std::string id = fmt::format("{}/{}.{}", id_, number_, options.colour);
  if (local_ && local_->has_all(world_ranks))
    return std::make_unique<ThreadCommunicator>(local_->group(id, options.name, world_ranks), own_place);
  return std::unique_ptr<Communicator>(
      new SocketCommunicator(*this, id, options.name, own_place, std::move(world_ranks)));
}

}  // namespace megalith
