#pragma once
// defines: LocalRanks

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "megalith/comm/socket_world.h"
#include "megalith/comm/thread_group.h"

namespace megalith {

/// The rank threads of this process among those of a larger run, whose processes have as many each. Groups
/// whose ranks are all here meet in memory. A failure here is told to all ranks of the run, and the other way
/// round. Ranks have their numbers of the whole run.
class LocalRanks {
 public:
  LocalRanks(int first_rank, int num_threads, std::chrono::milliseconds timeout);
  LocalRanks(const LocalRanks&) = delete;

  int first_rank() const { return first_rank_; }
  bool has_all(const std::vector<int>& ranks) const;
  /// The same group for all of `ranks` that ask with this id.
  std::shared_ptr<ThreadGroup> group(const std::string& id, const std::string& name,
                                     const std::vector<int>& ranks);

  /// The connection through which the run hears of a failure in this rank.
  void connect(int rank, std::weak_ptr<SocketWorld> connection);
  /// A rank of the run failed.
  void end(const SocketWorld::Failure& failure) { threads_->abort(failure.rank, failure.reason); }
  /// The rank will take part in nothing more.
  void leave(int rank) { threads_->leave(rank); }
  /// What it did last in groups that meet in memory; empty where it did nothing there.
  std::string report_of(int rank) const {
    return threads_->flight().has_entries(rank) ? threads_->flight().report_of(rank) : "";
  }

 private:
  struct Pending {
    std::shared_ptr<ThreadGroup> group;
    size_t num_taken = 0;
  };

  void tell_the_run(const ThreadWorld::Failure& failure);

  int first_rank_, num_threads_;
  std::shared_ptr<ThreadWorld> threads_;
  std::mutex mutex_;
  std::map<std::string, Pending> pending_;                 // under mutex_: groups that not all have yet
  std::map<int, std::weak_ptr<SocketWorld>> connections_;  // under mutex_
};

}  // namespace megalith
