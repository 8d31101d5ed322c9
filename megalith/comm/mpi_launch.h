#pragma once
// defines: MpiLaunch, detect_mpi_launch, has_mpi, MpiSession, run_mpi_rank

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "megalith/comm/communicator.h"

namespace megalith {

/// How this process was started, as the environment tells before MPI is initialized.
struct MpiLaunch {
  std::string launcher;  ///< "mpirun" or "srun"
  int rank = 0;
  int size = 1;
  int local_rank = 0;  ///< among the processes of this node
  int num_local = 0;   ///< processes of this node; 0 where the launcher does not say
};

/// Set in processes started by mpirun (Open MPI) or srun --mpi=pmix; nothing elsewhere, in the batch script
/// of a Slurm job, which is no rank, and in tasks of srun that meet through sockets (detect_socket_launch):
/// all where PMIx is not there, a build has no MPI, or MASTER_ADDR is set. Throws Error where a variable is
/// not a number or contradicts another.
std::optional<MpiLaunch> detect_mpi_launch();

/// Whether this build has MPI.
bool has_mpi();

struct MpiOptions {
  /// How long a rank waits in an operation for its peers before all of them fail; zero: for ever.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  /// How long after a failure the other ranks may take to notice it before the job is killed.
  std::chrono::milliseconds grace = std::chrono::seconds(10);
};

/// MPI in this process, from MPI_Init to MPI_Finalize; one per process. The constructor throws Error where
/// this build has no MPI.
class MpiSession {
 public:
  MpiSession();
  ~MpiSession();
  MpiSession(const MpiSession&) = delete;

  int rank() const;
  int size() const;

  /// Collective over all processes. Runs `body` with this process's communicator of the group "world" and
  /// returns when all ranks are done with theirs. Throws what the body threw; in the ranks that did not fail
  /// PeerFailure, also when their bodies were through. A failing rank is noticed by its peers in their
  /// operations; each then writes its last operations to the log. A rank that does not come to the end in
  /// `grace` after a failure ends the job through MPI_Abort.
  void run(const MpiOptions& options, const std::function<void(Communicator&)>& body);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// A session for one body: what main() calls where detect_mpi_launch() says so.
void run_mpi_rank(const MpiOptions& options, const std::function<void(Communicator&)>& body);

}  // namespace megalith
