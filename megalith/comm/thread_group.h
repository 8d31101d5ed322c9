#pragma once
// defines: ThreadGroup

#include <array>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "megalith/comm/collective.h"
#include "megalith/comm/thread_world.h"

namespace megalith {

/// The meeting place of rank threads. An operation is: publish() what this rank has, enter(), read what the
/// peers published, and leave() where peers may still read this rank's tensors. Small inputs are copied into
/// the group, which saves the second wait: there are two sets of slots, and a rank that is one operation
/// ahead writes into the other set.
class ThreadGroup {
 public:
  static constexpr size_t kInlineBytes = 4096;

  struct Slot {
    Collective collective;
    int64_t number = 0;  ///< of the operation
    alignas(64) std::array<std::byte, kInlineBytes> inline_bytes;
  };
  /// Where the data that peers read between two waits lies.
  enum class Source { kSlots, kTensors };

  /// `world_ranks[r]` is the world's number of rank r of this group.
  ThreadGroup(std::shared_ptr<ThreadWorld> world, std::string name, std::vector<int> world_ranks);

  ThreadWorld& world() { return *world_; }
  const std::shared_ptr<ThreadWorld>& shared_world() const { return world_; }
  const std::string& name() const { return name_; }
  int size() const { return static_cast<int>(world_ranks_.size()); }
  int world_rank(int rank) const { return world_ranks_[rank]; }

  /// The slot of a rank for its operation `number`.
  Slot& slot(int rank, int64_t number) {
    return slots_[static_cast<size_t>(number % 2) * world_ranks_.size() + static_cast<size_t>(rank)];
  }
  /// Waits until every rank has published its operation `number`; fails where they differ.
  void enter(int rank, int64_t number, Source source);
  /// Waits until every rank has done its part after enter(). With kTensors another part follows.
  void leave(int rank, int64_t number, Source next_source);

  void post(int from, int to, const CollectiveCall& call, const std::byte* data);
  /// The next message of `from`; `number` counts the receiver's operations.
  std::vector<std::byte> take(int from, int rank, int64_t number, const CollectiveCall& call);

  /// The same new group for all ranks of `members` (ranks of this group) that ask in operation `number`.
  std::shared_ptr<ThreadGroup> child(int64_t number, int64_t colour, const std::string& name,
                                     const std::vector<int>& members);

  /// Fails if the world was aborted.
  void check_alive(int rank, int64_t number, const CollectiveCall& call);
  /// Makes the waiting ranks look at the state of the world again.
  void wake();

 private:
  using Lock = std::unique_lock<std::mutex>;
  using Clock = std::chrono::steady_clock;
  struct Message {
    CollectiveCall call;
    std::vector<std::byte> data;
  };
  struct Child {
    std::shared_ptr<ThreadGroup> group;
    size_t num_taken = 0;
  };
  struct Operation {
    int rank = 0;
    int64_t number = 0;
    const CollectiveCall& call;
  };
  enum class Meeting { kEnter, kLeave };

  void meet(const Operation& operation, Meeting meeting, Source next_source);
  bool spin_until_released(uint64_t generation) const;
  std::string mismatch(int64_t number);
  std::vector<int> absent(uint64_t generation) const;
  std::string rank_list(const std::vector<int>& ranks) const;
  std::string where(const Operation& operation) const;
  /// One wait on `changed`; fails, with the lock released, when it is of no use to wait on for `ranks`.
  void wait_for(Lock& lock, std::condition_variable& changed, const Operation& operation,
                const std::vector<int>& ranks, Clock::time_point begin);
  /// Throws once no peer reads this rank's tensors: the message as an Error when it is the first failure of
  /// the world, else a PeerFailure.
  [[noreturn]] void raise(Lock& lock, const Operation& operation, const std::string& message);

  std::shared_ptr<ThreadWorld> world_;
  std::string name_;
  std::vector<int> world_ranks_;
  std::vector<Slot> slots_;  // two for each rank; written by it before enter(), read by all after

  std::mutex mutex_;
  std::condition_variable released_;  // the generation, num_readers_ or the world changed
  std::condition_variable posted_;    // mail_ or the world changed
  std::atomic<uint64_t> generation_{0};
  // All under mutex_:
  int num_arrived_ = 0;
  int num_readers_ = 0;               // ranks that may be reading tensors of peers
  std::vector<uint64_t> arrived_at_;  // 1 + the generation that the rank arrived in last
  std::map<std::pair<int, int>, std::deque<Message>> mail_;
  std::map<std::pair<int64_t, int64_t>, Child> children_;
};

}  // namespace megalith
