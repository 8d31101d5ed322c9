#include "megalith/comm/thread_world.h"

#include "megalith/comm/thread_group.h"

namespace megalith {

bool ThreadWorld::abort(int rank, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    if (failure_) return false;
    failure_ = Failure{rank, reason};
    is_aborted_.store(true, std::memory_order_release);
  }
  wake_groups();
  if (options_.on_abort) options_.on_abort({rank, reason});
  return true;
}

std::optional<ThreadWorld::Failure> ThreadWorld::failure() const {
  const std::lock_guard lock(mutex_);
  return failure_;
}

void ThreadWorld::leave(int rank) {
  flight_.leave(rank);
  wake_groups();
}

void ThreadWorld::add_group(const std::shared_ptr<ThreadGroup>& group) {
  const std::lock_guard lock(mutex_);
  std::erase_if(groups_, [](const auto& other) { return other.expired(); });
  groups_.push_back(group);
}

void ThreadWorld::wake_groups() {
  std::vector<std::shared_ptr<ThreadGroup>> groups;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& weak : groups_)
      if (auto group = weak.lock()) groups.push_back(std::move(group));
  }
  for (const auto& group : groups) group->wake();
}

}  // namespace megalith
