#include "megalith/comm/local_ranks.h"

#include <algorithm>

namespace megalith {

LocalRanks::LocalRanks(int first_rank, int num_threads, std::chrono::milliseconds timeout)
    : first_rank_(first_rank),
      num_threads_(num_threads),
      threads_(std::make_shared<ThreadWorld>(ThreadWorld::Options{
          .num_ranks = num_threads,
          .first_rank = first_rank,
          .timeout = timeout,
          .on_abort = [this](const ThreadWorld::Failure& failure) { tell_the_run(failure); }})) {}

bool LocalRanks::has_all(const std::vector<int>& ranks) const {
  return std::all_of(ranks.begin(), ranks.end(),
                     [&](int rank) { return rank >= first_rank_ && rank < first_rank_ + num_threads_; });
}

std::shared_ptr<ThreadGroup> LocalRanks::group(const std::string& id, const std::string& name,
                                               const std::vector<int>& ranks) {
  std::shared_ptr<ThreadGroup> group;
  bool is_new = false;
  {
    const std::lock_guard lock(mutex_);
    Pending& pending = pending_[id];
    if (!pending.group) {
      pending.group = std::make_shared<ThreadGroup>(threads_, name, ranks);
      is_new = true;
    }
    group = pending.group;
    if (++pending.num_taken == ranks.size()) pending_.erase(id);
  }
  if (is_new) threads_->add_group(group);
  return group;
}

void LocalRanks::connect(int rank, std::weak_ptr<SocketWorld> connection) {
  const std::lock_guard lock(mutex_);
  connections_[rank] = std::move(connection);
}

void LocalRanks::tell_the_run(const ThreadWorld::Failure& failure) {
  std::shared_ptr<SocketWorld> connection;
  {
    const std::lock_guard lock(mutex_);
    const auto found = connections_.find(failure.rank);
    if (found != connections_.end()) connection = found->second.lock();
  }
  if (connection) connection->abort(failure.reason);
}

}  // namespace megalith
