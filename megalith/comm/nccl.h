#pragma once
// defines: BesideTransport, NcclOptions, has_nccl, make_nccl_communicator

#include <chrono>
#include <memory>

#include "megalith/comm/communicator.h"
#include "megalith/core/exec.h"

namespace megalith {

/// What moves large tensors of groups beside compute between rank threads.
enum class BesideTransport {
  kCopyEngines,  ///< where all GPUs reach each other's memory, else kNccl
  kNccl,
};

struct NcclOptions {
  /// How long an operation may be the next one of its stream and not come to its end before all ranks fail;
  /// zero: for ever. The kernels before it count.
  std::chrono::milliseconds timeout = std::chrono::minutes(10);
  /// How long after a failure a rank may stay in a call of NCCL before its process is ended.
  std::chrono::milliseconds grace = std::chrono::seconds(60);
  BesideTransport beside = BesideTransport::kCopyEngines;
};

/// Whether this build has NCCL.
bool has_nccl();

/// Collective over `host`: a group of the same ranks for tensors of `exec`'s GPU, one GPU for each rank.
/// `host`, a group for CPU tensors, carries what the ranks must agree about and the news of a failure; it and
/// `exec` outlive the group. GPUs of rank threads that reach each other read and write all of each other's
/// tensors from then on. A rank that fails makes the others raise; each writes its last operations to the
/// log. Between rank threads messages (send, recv) are copies that the GPU's copy engine makes when both
/// sides are ready, so that no kernel waits for a peer; between processes NCCL carries them on streams of
/// their own. max and min do not pass NaN on, as NCCL does not. Throws Error where this build has no NCCL.
std::unique_ptr<Communicator> make_nccl_communicator(Communicator& host, Exec& exec,
                                                     const NcclOptions& options = {});

}  // namespace megalith
