#pragma once
// defines: LaunchKind, Launch, find_launch, LaunchedRank, run_launched, RankWorld

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "megalith/comm/communicator.h"
#include "megalith/comm/nccl.h"
#include "megalith/comm/socket_launch.h"
#include "megalith/core/exec.h"

namespace megalith {

enum class LaunchKind {
  kThreads,  ///< all ranks are threads of this process
  kMpi,      ///< processes that mpirun or srun started
  kSockets,  ///< processes that know their place and MASTER_ADDR from variables, as torchrun's do
};

/// How the ranks of a run come to be. A process is one rank or has several as threads, all processes as many:
/// what ranks of one process send to each other goes through memory, and on GPUs their kernels and copy
/// engines reach each other's tensors. Process p has the ranks from p * num_threads on.
struct Launch {
  LaunchKind kind = LaunchKind::kThreads;
  std::string launcher;  ///< "mpirun", "srun", "RANK and WORLD_SIZE"; empty for threads
  int num_ranks = 1;     ///< of the whole run
  int num_threads = 1;   ///< ranks of each process
  int process_rank = 0;  ///< kThreads: 0
  int local_rank = 0;    ///< of the process among those of its node
  int num_local = 1;     ///< ranks of this node; processes: 0 where the launcher does not say
  SocketLaunch sockets;  ///< kSockets
  /// The first process, or the only one: what is said once is said here.
  bool is_first_process() const { return process_rank == 0; }
};

/// What the environment says of processes, with `num_threads` ranks in each. Throws Error naming the variable
/// for what is no number.
Launch find_launch(int num_threads);

/// Which of the `num_visible` GPUs of its process a rank takes: the one of its place on the node, or that of
/// its place in the process where the launcher has given each process its own (CUDA_VISIBLE_DEVICES, as srun
/// --gpus-per-task sets it).
int gpu_of_rank(const Launch& launch, int local_rank, int num_visible);

/// One rank and where it is.
struct LaunchedRank {
  Communicator& host;  ///< all ranks, for CPU tensors
  int local_rank = 0;  ///< among the ranks of this node
};

/// Runs `body` in every rank of this process and returns when all ranks of the run are done. Throws what the
/// first rank of this process to fail threw, or PeerFailure when a rank of another process failed.
void run_launched(const Launch& launch, std::chrono::milliseconds timeout,
                  const std::function<void(const LaunchedRank&)>& body);

/// The group of all ranks for tensors of a rank's own device: the host group itself on the CPU, NCCL's on
/// GPUs. Collective; `host` and `exec` outlive it.
class RankWorld {
 public:
  RankWorld(Communicator& host, Exec& exec, const NcclOptions& options = {});
  Communicator& comm() const { return *comm_; }
  /// Calls `body(comm())`. When it throws, the peers are told why before anything of this rank is taken
  /// apart: what they wait for on a GPU ends then with results of no meaning.
  void run(const std::function<void(Communicator&)>& body) const;

 private:
  Communicator* host_;
  std::unique_ptr<Communicator> on_gpu_;
  Communicator* comm_;
};

}  // namespace megalith
