#pragma once
// defines: NcclRank

#include <map>
#include <mutex>
#include <utility>
#include <vector>

#include <nccl.h>

#include "megalith/comm/host_numbers.h"
#include "megalith/comm/nccl_watch.h"
#include "megalith/core/exec.h"

namespace megalith {

/// What all NCCL groups of one rank share: their communicators, the watch over them, and the world's host
/// group. Groups of the same ranks share one communicator of NCCL, which has buffers on every GPU.
class NcclRank {
 public:
  NcclRank(Communicator& host, Exec& exec, const NcclOptions& options);
  /// When an exception ends the rank, its kernels that wait for peers are ended too.
  ~NcclRank();
  NcclRank(const NcclRank&) = delete;

  /// Collective over ranks that are threads of one process: their GPUs may read each other's memory. Fails
  /// where two ranks have one GPU.
  void reach_peers(Communicator& in_process);
  /// Every GPU of this process reads every other's memory, and large tensors beside compute go that way where
  /// the ranks of a group are of one process.
  bool uses_copy_engines() const { return uses_copy_engines_; }

  Exec& exec() { return *exec_; }
  CudaContext& cuda() { return exec_->cuda(); }
  NcclWatch& watch() { return watch_; }

  /// Collective over `host`, a group of the ranks that the world numbers `world_ranks`.
  ncclComm_t open(Communicator& host, const std::vector<int>& world_ranks, CommOrder order);
  /// Ends and frees this one with the others.
  void adopt(ncclComm_t comm);
  /// Calls `work`, which calls NCCL, while no group is being ended. Fails where `operation` has no sense any
  /// more.
  template <class Work>
  void call(const NcclOperation& operation, const Work& work) {
    const std::lock_guard lock(calling_);
    check_alive(operation);
    const NcclWatch::Call called(watch_, operation);
    try {
      work();
    } catch (const Error&) {
      check_alive(operation);  // NCCL was ended under the call: then the cause is another
      throw;
    }
  }
  /// Fails when a rank has failed.
  void check_alive(const NcclOperation& operation) {
    if (watch_.has_failed() || host_->is_aborted()) watch_.raise(operation);
  }

  HostNumbers& host_numbers() { return host_numbers_; }

 private:
  std::string find_error();
  void end_operations();

  Communicator* host_;
  Exec* exec_;
  NcclOptions options_;
  bool uses_copy_engines_ = false;
  HostNumbers host_numbers_;
  int num_exceptions_;  // in flight when this was made
  std::timed_mutex calling_;
  std::mutex comms_mutex_;
  // Both under comms_mutex_:
  std::vector<ncclComm_t> comms_;
  bool is_ended_ = false;
  std::map<std::pair<CommOrder, std::vector<int>>, ncclComm_t> opened_;
  NcclWatch watch_;  // last: its thread uses the others
};

}  // namespace megalith
