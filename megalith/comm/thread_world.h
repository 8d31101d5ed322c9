#pragma once
// defines: ThreadWorld

#include <atomic>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "megalith/comm/flight_record.h"

namespace megalith {

class ThreadGroup;

/// What all groups of one set of rank threads share: whether and why it failed, who is done, and the record
/// of what each rank did last. Ranks are numbered as in the first group.
class ThreadWorld {
 public:
  struct Failure {
    int rank = 0;
    std::string reason;
  };

  /// A wait longer than `timeout` fails; zero waits for ever.
  ThreadWorld(int num_ranks, std::chrono::milliseconds timeout)
      : num_ranks_(num_ranks), timeout_(timeout), flight_(num_ranks) {}

  int num_ranks() const { return num_ranks_; }
  std::chrono::milliseconds timeout() const { return timeout_; }
  FlightRecord& flight() { return flight_; }

  /// Ends all groups. True for the first caller, whose reason is kept.
  bool abort(int rank, const std::string& reason);
  bool is_aborted() const { return is_aborted_.load(std::memory_order_acquire); }
  std::optional<Failure> failure() const;

  /// The rank will take part in nothing more; who waits for it fails.
  void leave(int rank);

  void add_group(const std::shared_ptr<ThreadGroup>& group);

 private:
  void wake_groups();

  int num_ranks_;
  std::chrono::milliseconds timeout_;
  FlightRecord flight_;
  std::atomic<bool> is_aborted_{false};
  mutable std::mutex mutex_;
  std::optional<Failure> failure_;                  // under mutex_
  std::vector<std::weak_ptr<ThreadGroup>> groups_;  // under mutex_
};

}  // namespace megalith
