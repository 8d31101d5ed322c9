#include "megalith/comm/mpi_communicator.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "megalith/base/math.h"
#include "megalith/comm/reduce.h"

namespace megalith {
namespace {

// Up to here every rank sends its elements to every other and sums all of them; longer tensors are summed in
// slices, which moves 2 (n - 1) / n of a tensor instead of n - 1.
constexpr size_t kWholeBytes = 4096;

void copy(std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes > 0 && to != from) std::memmove(to, from, bytes);
}

bool is_message(CollectiveKind kind) {
  return kind == CollectiveKind::kSend || kind == CollectiveKind::kRecv || kind == CollectiveKind::kSendRecv;
}

}  // namespace

void MpiCommunicator::run(const Collective& c) {
  const bool is_sent = is_message(c.call.kind);
  const int64_t number = is_sent ? ++message_number_ : ++number_;
  const MpiOperation operation{group_, rank(), number, c.call};
  world_->flight().start(world_->rank(), Label(group_.name), number, c.call);
  world_->check_alive(operation);
  if (is_sent)
    run_message(c, operation);
  else
    run_together(c, operation);
  world_->flight().finish(world_->rank());
}

void MpiCommunicator::run_message(const Collective& c, const MpiOperation& operation) {
  const size_t bytes = c.block_bytes();
  if (c.call.kind == CollectiveKind::kSendRecv && c.from == rank()) return copy(c.out, c.in, bytes);
  std::vector<MpiOutgoing> outgoing;
  std::vector<MpiIncoming> incoming;
  if (c.call.kind != CollectiveKind::kRecv) outgoing.push_back({c.call.peer, c.in, bytes});
  if (c.call.kind != CollectiveKind::kSend) incoming.push_back({c.from, c.out, bytes});
  const auto payload = c.call.kind == CollectiveKind::kSend ? MpiPayload::kCopied : MpiPayload::kBorrowed;
  world_->exchange(operation, outgoing, incoming, payload, MpiMatching::kMessage);
}

void MpiCommunicator::exchange(const MpiOperation& operation, const std::vector<MpiOutgoing>& outgoing,
                               const std::vector<MpiIncoming>& incoming) {
  world_->exchange(operation, outgoing, incoming, MpiPayload::kBorrowed, MpiMatching::kCollective);
}

std::byte* MpiCommunicator::blocks(size_t block_bytes) {
  blocks_.resize(std::max(blocks_.size(), block_bytes * static_cast<size_t>(size())));
  return blocks_.data();
}

void MpiCommunicator::run_together(const Collective& c, const MpiOperation& operation) {
  const size_t bytes = c.block_bytes();
  const int root = c.call.peer;
  switch (c.call.kind) {
    case CollectiveKind::kBarrier:
      return barrier_of(operation);
    case CollectiveKind::kBroadcast:
      return broadcast_of(c, operation);
    case CollectiveKind::kAllGather:
      return all_gather_of(c, operation);
    case CollectiveKind::kAllToAll:
    case CollectiveKind::kAllToAllV:
      return all_to_all_of(c, operation);
    case CollectiveKind::kAllReduce:
      return all_reduce_of(c, operation);
    case CollectiveKind::kReduceScatter:
      return reduce_slices(c, operation, c.call.count);
    case CollectiveKind::kGather: {
      if (rank() != root) return exchange(operation, {{root, c.in, bytes}}, {});
      std::vector<MpiIncoming> incoming;
      for (int r = 0; r < size(); ++r)
        if (r != root) incoming.push_back({r, c.out + r * bytes, bytes});
      copy(c.out + root * bytes, c.in, bytes);
      return exchange(operation, {}, incoming);
    }
    case CollectiveKind::kScatter: {
      if (rank() != root) return exchange(operation, {}, {{root, c.out, bytes}});
      std::vector<MpiOutgoing> outgoing;
      for (int r = 0; r < size(); ++r)
        if (r != root) outgoing.push_back({r, c.in + r * bytes, bytes});
      copy(c.out, c.in + root * bytes, bytes);
      return exchange(operation, outgoing, {});
    }
    default:
      MG_ASSERT(false);
  }
}

// Dissemination: after round k a rank has heard, through others, of the 2^(k+1) ranks before it.
void MpiCommunicator::barrier_of(const MpiOperation& operation) {
  for (int distance = 1; distance < size(); distance *= 2)
    exchange(operation, {{(rank() + distance) % size(), nullptr, 0}},
             {{(rank() + size() - distance) % size(), nullptr, 0}});
}

// A binomial tree; ranks are counted from the root.
void MpiCommunicator::broadcast_of(const Collective& c, const MpiOperation& operation) {
  const size_t bytes = c.block_bytes();
  const int place = (rank() + size() - c.call.peer) % size();
  const auto rank_at = [&](int at) { return (at + c.call.peer) % size(); };
  int reach = 1;  // ranks below it are served before this one
  while (reach <= place) reach *= 2;
  if (place > 0) exchange(operation, {}, {{rank_at(place - reach / 2), c.out, bytes}});
  std::vector<MpiOutgoing> outgoing;
  for (; place + reach < size(); reach *= 2) outgoing.push_back({rank_at(place + reach), c.out, bytes});
  exchange(operation, outgoing, {});
}

void MpiCommunicator::all_gather_of(const Collective& c, const MpiOperation& operation) {
  const size_t bytes = c.block_bytes();
  std::vector<MpiOutgoing> outgoing;
  std::vector<MpiIncoming> incoming;
  for (int step = 1; step < size(); ++step) {
    const int from = (rank() + size() - step) % size();
    outgoing.push_back({(rank() + step) % size(), c.in, bytes});
    incoming.push_back({from, c.out + from * bytes, bytes});
  }
  copy(c.out + rank() * bytes, c.in, bytes);
  exchange(operation, outgoing, incoming);
}

void MpiCommunicator::all_to_all_of(const Collective& c, const MpiOperation& operation) {
  const size_t bytes = c.block_bytes();
  const bool has_counts = c.call.kind == CollectiveKind::kAllToAllV;
  std::vector<MpiOutgoing> outgoing;
  std::vector<MpiIncoming> incoming;
  const std::byte* in = c.in;
  std::byte* out = c.out;
  const std::byte* own = nullptr;
  std::byte* own_target = nullptr;
  for (int r = 0; r < size(); ++r) {
    const size_t sent = bytes * (has_counts ? static_cast<size_t>(c.send_counts[r]) : 1);
    const size_t received = bytes * (has_counts ? static_cast<size_t>(c.recv_counts[r]) : 1);
    if (r == rank()) {
      MG_CHECK(sent == received, "all_to_all_v: rank {} sends itself {} rows and expects {}", r,
               c.send_counts[r], c.recv_counts[r]);
      own = in;
      own_target = out;
      copy(own_target, own, sent);
    } else {
      outgoing.push_back({r, in, sent});
      incoming.push_back({r, out, received});
    }
    in += sent;
    out += received;
  }
  exchange(operation, outgoing, incoming);
}

void MpiCommunicator::all_reduce_of(const Collective& c, const MpiOperation& operation) {
  const size_t bytes = c.block_bytes();
  if (bytes > kWholeBytes) {
    const auto element = static_cast<int64_t>(size_of(c.call.dtype));
    return reduce_slices(c, operation, round_up(ceil_div<int64_t>(c.call.count, size()), 64 / element));
  }
  std::byte* all = blocks(bytes);
  std::vector<MpiOutgoing> outgoing;
  std::vector<MpiIncoming> incoming;
  std::vector<const std::byte*> inputs;
  for (int r = 0; r < size(); ++r) {
    inputs.push_back(r == rank() ? c.in : all + r * bytes);
    if (r == rank()) continue;
    outgoing.push_back({r, c.in, bytes});
    incoming.push_back({r, all + r * bytes, bytes});
  }
  exchange(operation, outgoing, incoming);
  reduce_elements(c.call.dtype, c.call.op, inputs, c.out, c.call.count);
}

// Slice r of every rank goes to rank r, which sums it. For an all-reduce the sums go back to everyone.
void MpiCommunicator::reduce_slices(const Collective& c, const MpiOperation& operation, int64_t slice) {
  const bool is_scatter = c.call.kind == CollectiveKind::kReduceScatter;
  const auto element = static_cast<int64_t>(size_of(c.call.dtype));
  const int64_t total = is_scatter ? slice * size() : c.call.count;
  const auto begin_of = [&](int r) { return std::min(r * slice, total) * element; };
  const auto bytes_of = [&](int r) { return static_cast<size_t>(begin_of(r + 1) - begin_of(r)); };
  const size_t own_bytes = bytes_of(rank());
  const std::byte* own = c.in + begin_of(rank());
  std::byte* result = is_scatter ? c.out : c.out + begin_of(rank());

  std::byte* all = blocks(own_bytes);
  std::vector<MpiOutgoing> outgoing;
  std::vector<MpiIncoming> incoming;
  std::vector<const std::byte*> inputs;
  for (int r = 0; r < size(); ++r) inputs.push_back(r == rank() ? own : all + r * own_bytes);
  for (int step = 1; step < size(); ++step) {
    const int to = (rank() + step) % size();
    const int from = (rank() + size() - step) % size();
    outgoing.push_back({to, c.in + begin_of(to), bytes_of(to)});
    incoming.push_back({from, all + from * own_bytes, own_bytes});
  }
  exchange(operation, outgoing, incoming);
  reduce_elements(c.call.dtype, c.call.op, inputs, result, static_cast<int64_t>(own_bytes) / element);
  if (is_scatter) return;

  outgoing.clear();
  incoming.clear();
  for (int step = 1; step < size(); ++step) {
    const int from = (rank() + size() - step) % size();
    outgoing.push_back({(rank() + step) % size(), result, own_bytes});
    incoming.push_back({from, c.out + begin_of(from), bytes_of(from)});
  }
  exchange(operation, outgoing, incoming);
}

std::unique_ptr<Communicator> MpiCommunicator::run_split(const SplitOptions& options) {
  struct Choice {
    int64_t colour;
    int64_t key;
    int64_t next_id;
  };
  const CollectiveCall call{.kind = CollectiveKind::kSplit};
  const MpiOperation operation{group_, rank(), ++number_, call};
  world_->flight().start(world_->rank(), Label(group_.name), number_, call);
  world_->check_alive(operation);
  std::vector<Choice> choices(static_cast<size_t>(size()));
  const Choice own{options.colour, options.key, world_->next_group_id()};
  all_gather_of({.call = {.kind = CollectiveKind::kSplit, .count = sizeof(Choice)},
                 .in = reinterpret_cast<const std::byte*>(&own),
                 .out = reinterpret_cast<std::byte*>(choices.data())},
                operation);

  // Every colour gets a number that is new to all ranks here.
  int64_t id = 0;
  std::vector<int64_t> colours;
  std::vector<std::pair<int64_t, int>> members;  // key, rank
  for (int r = 0; r < size(); ++r) {
    const Choice& choice = choices[static_cast<size_t>(r)];
    id = std::max(id, choice.next_id);
    colours.push_back(choice.colour);
    if (choice.colour == options.colour) members.push_back({choice.key, r});
  }
  std::sort(colours.begin(), colours.end());
  colours.erase(std::unique(colours.begin(), colours.end()), colours.end());
  world_->set_next_group_id(narrow<int>(id + static_cast<int64_t>(colours.size())));
  id += std::lower_bound(colours.begin(), colours.end(), options.colour) - colours.begin();
  std::sort(members.begin(), members.end());

  MpiGroup group{.name = options.name, .world_ranks = {}, .id = narrow<int>(id)};
  int own_place = 0;
  for (const auto& [key, r] : members) {
    if (r == rank()) own_place = static_cast<int>(group.world_ranks.size());
    group.world_ranks.push_back(group_.world_ranks[static_cast<size_t>(r)]);
  }
  world_->flight().finish(world_->rank());
  if (options.colour == SplitOptions::kNoColour) return nullptr;
  return std::make_unique<MpiCommunicator>(world_, std::move(group), own_place);
}

}  // namespace megalith
