#include "megalith/comm/thread_group.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "megalith/base/text.h"
#include "megalith/comm/communicator.h"

namespace megalith {

ThreadGroup::ThreadGroup(std::shared_ptr<ThreadWorld> world, std::string name, std::vector<int> world_ranks)
    : world_(std::move(world)),
      name_(std::move(name)),
      world_ranks_(std::move(world_ranks)),
      slots_(2 * world_ranks_.size()),
      arrived_at_(world_ranks_.size(), 0) {}

void ThreadGroup::enter(int rank, int64_t number, Source source) {
  meet({rank, number, slot(rank, number).collective.call}, Meeting::kEnter, source);
}

void ThreadGroup::leave(int rank, int64_t number, Source next_source) {
  meet({rank, number, slot(rank, number).collective.call}, Meeting::kLeave, next_source);
}

void ThreadGroup::meet(const Operation& operation, Meeting meeting, Source next_source) {
  Lock lock(mutex_);
  if (meeting == Meeting::kLeave && --num_readers_ == 0 && world_->is_aborted()) released_.notify_all();
  if (world_->is_aborted()) raise(lock, operation, {});

  const uint64_t generation = generation_.load(std::memory_order_relaxed);
  arrived_at_[operation.rank] = generation + 1;
  if (++num_arrived_ == size()) {
    if (meeting == Meeting::kEnter) {
      const std::string differences = mismatch(operation.number);
      if (!differences.empty()) raise(lock, operation, differences);
    }
    num_arrived_ = 0;
    num_readers_ = next_source == Source::kTensors ? size() : 0;
    generation_.store(generation + 1, std::memory_order_release);
    lock.unlock();
    released_.notify_all();
    return;
  }
  const auto begin = Clock::now();
  lock.unlock();
  if (spin_until_released(generation)) return;
  lock.lock();
  while (generation_.load(std::memory_order_relaxed) == generation)
    wait_for(lock, released_, operation, absent(generation), begin);
}

bool ThreadGroup::spin_until_released(uint64_t generation) const {
  // A sleeping thread takes tens of microseconds to wake. Yielding spins where a core is free, and where
  // ranks outnumber the cores it hands the core to a rank that has work to do.
  constexpr auto kLongest = std::chrono::microseconds(50);
  const auto is_released = [&] { return generation_.load(std::memory_order_acquire) != generation; };
  const auto end = Clock::now() + kLongest;
  while (!is_released() && Clock::now() < end) std::this_thread::yield();
  return is_released();
}

void ThreadGroup::wait_for(Lock& lock, std::condition_variable& changed, const Operation& operation,
                           const std::vector<int>& ranks, Clock::time_point begin) {
  if (world_->is_aborted()) raise(lock, operation, {});
  for (const int rank : ranks) {
    if (world_->flight().has_left(world_ranks_[rank]))
      raise(lock, operation,
            fmt::format("{} waits for rank {}, which has finished without it", where(operation),
                        world_ranks_[rank]));
  }
  const auto timeout = world_->timeout();
  if (timeout.count() == 0) {
    changed.wait(lock);
    return;
  }
  if (Clock::now() >= begin + timeout) {
    const std::string waited = human_duration(std::chrono::duration<double>(timeout).count());
    raise(lock, operation,
          fmt::format("{} has waited {} for {}; the last operations:\n{}", where(operation), waited,
                      rank_list(ranks), world_->flight().report()));
  }
  changed.wait_until(lock, begin + timeout);
}

void ThreadGroup::raise(Lock& lock, const Operation& operation, const std::string& message) {
  lock.unlock();  // abort() takes the lock of every group
  const bool is_first = !message.empty() && world_->abort(world_ranks_[operation.rank], message);
  lock.lock();
  released_.wait(lock, [&] { return num_readers_ == 0; });
  if (is_first) throw Error(message);
  const auto failure = world_->failure();
  throw PeerFailure(fmt::format("{} was cut short because rank {} failed: {}", where(operation),
                                failure->rank, failure->reason));
}

void ThreadGroup::check_alive(int rank, int64_t number, const CollectiveCall& call) {
  if (!world_->is_aborted()) return;
  Lock lock(mutex_);
  raise(lock, {rank, number, call}, {});
}

void ThreadGroup::wake() {
  // Through the lock, so that no rank is between its look at the world and its wait.
  { const std::lock_guard lock(mutex_); }
  released_.notify_all();
  posted_.notify_all();
}

std::string ThreadGroup::mismatch(int64_t number) {
  const auto call_of = [&](int rank) -> const Collective& { return slot(rank, number).collective; };
  std::vector<std::pair<std::string, std::vector<int>>> callers;
  for (int rank = 0; rank < size(); ++rank) {
    const std::string text =
        rank == 0 || call_of(rank).call == call_of(0).call ? std::string() : describe(call_of(rank).call);
    const auto known = std::find_if(callers.begin(), callers.end(),
                                    [&](const auto& caller) { return caller.first == text; });
    if (known == callers.end())
      callers.push_back({text, {rank}});
    else
      known->second.push_back(rank);
  }
  if (callers.size() > 1) {
    callers[0].first = describe(call_of(0).call);
    std::string text = fmt::format("the ranks of '{}' disagree about operation {}", name_, number);
    const char* separator = ": ";
    for (const auto& [call, ranks] : callers) {
      text +=
          fmt::format("{}{} {} {}", separator, rank_list(ranks), ranks.size() > 1 ? "call" : "calls", call);
      separator = ", ";
    }
    return text;
  }
  if (call_of(0).call.kind != CollectiveKind::kAllToAllV) return {};
  for (int from = 0; from < size(); ++from) {
    for (int to = 0; to < size(); ++to) {
      const int64_t sent = call_of(from).send_counts[to];
      const int64_t expected = call_of(to).recv_counts[from];
      if (sent != expected)
        return fmt::format(
            "the ranks of '{}' disagree about operation {}, {}: rank {} sends {} rows to rank {}, "
            "which expects {}",
            name_, number, describe(call_of(0).call), world_ranks_[from], sent, world_ranks_[to], expected);
    }
  }
  return {};
}

std::vector<int> ThreadGroup::absent(uint64_t generation) const {
  std::vector<int> ranks;
  for (int rank = 0; rank < size(); ++rank)
    if (arrived_at_[rank] != generation + 1) ranks.push_back(rank);
  return ranks;
}

std::string ThreadGroup::rank_list(const std::vector<int>& ranks) const {
  std::string text = ranks.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < ranks.size(); ++i)
    text += fmt::format("{}{}", i == 0 ? "" : ", ", world_ranks_[ranks[i]]);
  return text;
}

std::string ThreadGroup::where(const Operation& operation) const {
  return fmt::format("rank {}: {} (operation {} of '{}')", world_ranks_[operation.rank],
                     describe(operation.call), operation.number, name_);
}

void ThreadGroup::post(int from, int to, const CollectiveCall& call, const std::byte* data) {
  const size_t bytes = static_cast<size_t>(call.count) * size_of(call.dtype);
  Message message{call, std::vector<std::byte>(data, data + bytes)};
  {
    const std::lock_guard lock(mutex_);
    mail_[{from, to}].push_back(std::move(message));
  }
  posted_.notify_all();
}

std::vector<std::byte> ThreadGroup::take(int from, int rank, int64_t number, const CollectiveCall& call) {
  const Operation operation{rank, number, call};
  const auto begin = Clock::now();
  Lock lock(mutex_);
  auto& queue = mail_[{from, rank}];
  while (queue.empty()) wait_for(lock, posted_, operation, {from}, begin);
  Message message = std::move(queue.front());
  queue.pop_front();
  const bool labels_agree =
      message.call.label == call.label || message.call.label.str().empty() || call.label.str().empty();
  if (message.call.dtype != call.dtype || message.call.count != call.count || !labels_agree)
    raise(lock, operation,
          fmt::format("{} does not match rank {}: {}", where(operation), world_ranks_[from],
                      describe(message.call)));
  return std::move(message.data);
}

std::shared_ptr<ThreadGroup> ThreadGroup::child(int64_t number, int64_t colour, const std::string& name,
                                                const std::vector<int>& members) {
  std::shared_ptr<ThreadGroup> group;
  bool is_new = false;
  {
    const std::lock_guard lock(mutex_);
    Child& child = children_[{number, colour}];
    if (!child.group) {
      std::vector<int> world_ranks;
      for (const int member : members) world_ranks.push_back(world_ranks_[member]);
      child.group = std::make_shared<ThreadGroup>(world_, name, std::move(world_ranks));
      is_new = true;
    }
    group = child.group;
    if (++child.num_taken == members.size()) children_.erase({number, colour});
  }
  if (is_new) world_->add_group(group);
  return group;
}

}  // namespace megalith
