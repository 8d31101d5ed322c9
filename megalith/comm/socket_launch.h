#pragma once
// defines: SocketLaunch, detect_socket_launch, SocketOptions, run_socket_ranks

#include <chrono>
#include <functional>
#include <optional>
#include <string>

#include "megalith/comm/communicator.h"
#include "megalith/comm/socket_stream.h"

namespace megalith {

/// How a launcher without MPI started this process, in the variables that torchrun sets: RANK, WORLD_SIZE,
/// MASTER_ADDR, MASTER_PORT, and LOCAL_RANK and LOCAL_WORLD_SIZE where several processes share a node. Tasks
/// of srun are known by Slurm's variables; they meet at the first host of the step where MASTER_ADDR does not
/// say otherwise. Ranks and sizes here are those of processes.
struct SocketLaunch {
  int rank = 0;
  int size = 1;
  int local_rank = 0;
  int num_local = 0;    ///< 0 where the launcher does not say
  std::string address;  ///< of process 0
  int port = 0;
  int num_threads = 1;  ///< rank threads of each process
};

/// Nothing where RANK and WORLD_SIZE are not set and this is no task of srun. Throws Error naming the
/// variable that is wrong or missing. Where torchrun's agent listens at MASTER_PORT itself
/// (TORCHELASTIC_USE_AGENT_STORE) it is the port after.
std::optional<SocketLaunch> detect_socket_launch();

struct SocketOptions {
  /// How long a rank waits in an operation for its peers before all of them fail; zero: for ever.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  /// How long rank 0 has to come.
  std::chrono::milliseconds connect_timeout = std::chrono::minutes(2);
  /// How long after a failure the other ranks may take to notice it.
  std::chrono::milliseconds grace = std::chrono::seconds(10);
  /// How long a host may leave its connection without an answer before its ranks are lost.
  std::chrono::milliseconds silence = kHostSilence;
};

class SocketServer;

/// Collective over all processes. Runs `body` in every rank of this process, in a thread each where there are
/// several, with its communicator of the group "world", and returns when all ranks are done. Process p has
/// the ranks from p * num_threads on. Throws what the first of its ranks to fail threw; PeerFailure where one
/// of another process failed. `server` is that of process 0 where it is there already.
void run_socket_ranks(const SocketLaunch& launch, const SocketOptions& options,
                      const std::function<void(Communicator&)>& body, SocketServer* server = nullptr);

}  // namespace megalith
