#pragma once
// defines: NcclOperation, NcclWatch

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "megalith/comm/nccl.h"

struct CUevent_st;

namespace megalith {

/// What is said of an operation that does not come to its end.
struct NcclOperation {
  Label group;
  int64_t number = 0;  ///< of the group's operations on this rank
  CollectiveCall call;
  std::string where() const;
};

/// A thread that follows the operations of one rank through events behind each on its stream. It brings
/// failures to the GPU, where a kernel cannot hear of them: when a peer failed, an operation takes too long
/// or NCCL reports an error, it ends the rank's kernels and tells the other ranks through the host group.
class NcclWatch {
 public:
  struct Hooks {
    std::function<std::string()> find_error;  ///< an error of NCCL that came between calls; empty: none
    std::function<void()> end_operations;     ///< ncclCommAbort for all groups of the rank
  };
  NcclWatch(Communicator& host, int device_index, const NcclOptions& options, Hooks hooks);
  ~NcclWatch();
  NcclWatch(const NcclWatch&) = delete;

  /// The rank's thread calls it after each operation.
  void add(const NcclOperation& operation, CUstream_st* stream);
  /// While it lives the rank's thread is in a call of NCCL, which waits for the peers where it connects them.
  class Call {
   public:
    Call(NcclWatch& watch, const NcclOperation& operation);
    ~Call();
    Call(const Call&) = delete;

   private:
    NcclWatch* watch_;
  };

  bool has_failed() const { return has_failed_.load(std::memory_order_acquire); }
  /// Once it has failed: Error when this rank was the first to know, else PeerFailure.
  [[noreturn]] void raise(const NcclOperation& operation);

 private:
  using Clock = std::chrono::steady_clock;
  struct Pending {
    NcclOperation operation;
    CUevent_st* event = nullptr;
  };
  struct Line {  // the operations of a stream, oldest first
    std::deque<Pending> pending;
    Clock::time_point since;  // since when the first of them has been the first
  };

  void follow();
  void retire_finished();
  std::string overdue();
  void end_all(const std::string& own_reason);
  std::string report();

  Communicator* host_;
  int rank_;
  int device_index_;
  NcclOptions options_;
  Hooks hooks_;
  std::atomic<bool> has_failed_{false};
  std::atomic<bool> has_raised_{false};

  std::mutex mutex_;
  // All under mutex_:
  std::condition_variable stopped_;
  bool must_stop_ = false;
  std::map<CUstream_st*, Line> lines_;
  std::optional<NcclOperation> called_;  // until NCCL comes back
  Clock::time_point called_at_;
  std::vector<CUevent_st*> free_events_;
  std::deque<NcclOperation> finished_;  // the last few
  std::string own_failure_;             // set before has_failed_
  std::thread thread_;
};

}  // namespace megalith
