#include "megalith/comm/thread_communicator.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>

#include "megalith/base/math.h"
#include "megalith/comm/reduce.h"

namespace megalith {
namespace {

void copy(std::byte* to, const std::byte* from, size_t bytes) {
  if (bytes > 0 && to != from) std::memcpy(to, from, bytes);
}

bool has_block_per_rank(CollectiveKind kind) {
  return kind == CollectiveKind::kReduceScatter || kind == CollectiveKind::kAllToAll ||
         kind == CollectiveKind::kScatter;
}

bool is_message(CollectiveKind kind) {
  return kind == CollectiveKind::kSend || kind == CollectiveKind::kRecv || kind == CollectiveKind::kSendRecv;
}

int64_t sum_before(std::span<const int64_t> counts, int rank) {
  return std::accumulate(counts.begin(), counts.begin() + rank, int64_t{0});
}

}  // namespace

void ThreadCommunicator::abort(const std::string& reason) {
  group_->world().abort(group_->world_rank(rank()), reason);
}

void ThreadCommunicator::start(const CollectiveCall& call, int64_t number) {
  group_->world().flight().start(group_->world_rank(rank()), Label(group_->name()), number, call);
  group_->check_alive(rank(), number, call);
}

void ThreadCommunicator::finish() {
  group_->world().flight().finish(group_->world_rank(rank()));
}

void ThreadCommunicator::run(const Collective& c) {
  if (is_message(c.call.kind)) {
    start(c.call, ++message_number_);
    run_messages(c);
  } else {
    start(c.call, ++number_);
    run_together(c);
  }
  finish();
}

void ThreadCommunicator::run_messages(const Collective& c) {
  if (c.call.kind != CollectiveKind::kRecv) group_->post(rank(), c.call.peer, c.call, c.in);
  if (c.call.kind == CollectiveKind::kSend) return;
  const std::vector<std::byte> data = group_->take(c.from, rank(), message_number_, c.call);
  copy(c.out, data.data(), data.size());
}

void ThreadCommunicator::run_together(const Collective& c) {
  const CollectiveKind kind = c.call.kind;
  const size_t in_bytes = c.block_bytes() * static_cast<size_t>(has_block_per_rank(kind) ? size() : 1);
  // The same on every rank: the ranks make equal calls.
  const bool is_small = kind != CollectiveKind::kAllToAllV && in_bytes <= ThreadGroup::kInlineBytes;
  const auto source = is_small ? ThreadGroup::Source::kSlots : ThreadGroup::Source::kTensors;

  ThreadGroup::Slot& slot = group_->slot(rank(), number_);
  slot.collective = c;
  if (is_small && c.in != nullptr) {
    copy(slot.inline_bytes.data(), c.in, in_bytes);
    slot.collective.in = slot.inline_bytes.data();
  }
  group_->enter(rank(), number_, source);
  if (kind == CollectiveKind::kAllReduce && !is_small)
    all_reduce_slices(c);
  else if (kind == CollectiveKind::kAllReduce)
    reduce(c.call, 0, c.call.count, c.out);
  else if (kind == CollectiveKind::kReduceScatter)
    reduce(c.call, rank() * c.call.count, (rank() + 1) * c.call.count, c.out);
  else
    copy_blocks(c);
  if (!is_small) group_->leave(rank(), number_, ThreadGroup::Source::kSlots);
}

void ThreadCommunicator::copy_blocks(const Collective& c) {
  const size_t bytes = c.block_bytes();
  const size_t own_offset = static_cast<size_t>(rank()) * bytes;
  switch (c.call.kind) {
    case CollectiveKind::kBroadcast:
      copy(c.out, peer(c.call.peer).in, bytes);
      break;
    case CollectiveKind::kScatter:
      copy(c.out, peer(c.call.peer).in + own_offset, bytes);
      break;
    case CollectiveKind::kGather:
      if (rank() != c.call.peer) break;
      [[fallthrough]];
    case CollectiveKind::kAllGather:
      for (int r = 0; r < size(); ++r) copy(c.out + r * bytes, peer(r).in, bytes);
      break;
    case CollectiveKind::kAllToAll:
      for (int r = 0; r < size(); ++r) copy(c.out + r * bytes, peer(r).in + own_offset, bytes);
      break;
    case CollectiveKind::kAllToAllV: {
      std::byte* out = c.out;
      for (int r = 0; r < size(); ++r) {
        const size_t received = static_cast<size_t>(c.recv_counts[r]) * bytes;
        copy(out, peer(r).in + sum_before(peer(r).send_counts, rank()) * bytes, received);
        out += received;
      }
      break;
    }
    default:
      break;  // a barrier
  }
}

void ThreadCommunicator::reduce(const CollectiveCall& call, int64_t begin, int64_t end, std::byte* out) {
  for (int r = 0; r < size(); ++r) inputs_[r] = peer(r).in + begin * size_of(call.dtype);
  reduce_elements(call.dtype, call.op, inputs_, out, end - begin);
}

void ThreadCommunicator::all_reduce_slices(const Collective& c) {
  // Each rank reduces one slice into its own tensor and copies the other slices from who reduced them. Slices
  // begin on cache lines of the buffer.
  const auto element = static_cast<int64_t>(size_of(c.call.dtype));
  const int64_t slice = round_up(ceil_div<int64_t>(c.call.count, size()), 64 / element);
  const auto begin_of = [&](int r) { return std::min(r * slice, c.call.count); };

  reduce(c.call, begin_of(rank()), begin_of(rank() + 1), c.out + begin_of(rank()) * element);
  group_->leave(rank(), number_, ThreadGroup::Source::kTensors);
  for (int step = 1; step < size(); ++step) {
    const int r = (rank() + step) % size();  // not all from the same rank at once
    copy(c.out + begin_of(r) * element, peer(r).in + begin_of(r) * element,
         static_cast<size_t>((begin_of(r + 1) - begin_of(r)) * element));
  }
}

std::unique_ptr<Communicator> ThreadCommunicator::run_split(const SplitOptions& options) {
  struct Choice {
    int64_t colour;
    int64_t key;
  };
  const CollectiveCall call{.kind = CollectiveKind::kSplit};
  start(call, ++number_);
  ThreadGroup::Slot& slot = group_->slot(rank(), number_);
  slot.collective = {.call = call};
  const Choice own{options.colour, options.key};
  std::memcpy(slot.inline_bytes.data(), &own, sizeof own);
  group_->enter(rank(), number_, ThreadGroup::Source::kSlots);

  std::vector<std::pair<int64_t, int>> members;  // key, rank
  for (int r = 0; r < size(); ++r) {
    Choice choice;
    std::memcpy(&choice, group_->slot(r, number_).inline_bytes.data(), sizeof choice);
    if (choice.colour == options.colour) members.push_back({choice.key, r});
  }
  std::sort(members.begin(), members.end());
  std::vector<int> ranks;
  for (const auto& member : members) ranks.push_back(member.second);
  const auto own_place = std::find(ranks.begin(), ranks.end(), rank()) - ranks.begin();

  std::unique_ptr<Communicator> result;
  if (options.colour != SplitOptions::kNoColour)
    result = std::make_unique<ThreadCommunicator>(group_->child(number_, options.colour, options.name, ranks),
                                                  static_cast<int>(own_place));
  finish();
  return result;
}

}  // namespace megalith
