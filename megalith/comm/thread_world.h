#pragma once
// defines: ThreadWorld

#include <atomic>
#include <chrono>
#include <functional>
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

  struct Options {
    int num_ranks = 1;
    int first_rank = 0;                                 ///< its number
    std::chrono::milliseconds timeout{};                ///< a longer wait fails; zero waits for ever
    std::function<void(const Failure&)> on_abort = {};  ///< hears of the first abort
  };
  explicit ThreadWorld(Options options)
      : options_(std::move(options)), flight_(options_.num_ranks, options_.first_rank) {}

  std::chrono::milliseconds timeout() const { return options_.timeout; }
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

  Options options_;
  FlightRecord flight_;
  std::atomic<bool> is_aborted_{false};
  mutable std::mutex mutex_;
  std::optional<Failure> failure_;                  // under mutex_
  std::vector<std::weak_ptr<ThreadGroup>> groups_;  // under mutex_
};

}  // namespace megalith
