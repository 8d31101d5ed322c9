#pragma once
// defines: PeerAccess, make_peer_access

#include <memory>
#include <span>
#include <vector>

#include "megalith/comm/communicator.h"

namespace megalith {

/// Rank threads whose GPUs reach each other's memory: kernels of one rank read and write the tensors of
/// another while this is open. The host never waits for a GPU here, but hosts meet in both calls.
class PeerAccess {
 public:
  virtual ~PeerAccess() = default;

  using Places = std::vector<std::vector<const std::byte*>>;  ///< [tensor][rank]: where it lies
  /// Collective: the tensors of every rank. Kernels that this rank calls next find in them what the peers'
  /// kernels wrote before.
  virtual Places open(std::span<const Tensor> own) = 0;
  /// Collective. Kernels that are called next come after all that the peers read and wrote in between.
  virtual void close() = 0;
};

/// Collective over the ranks of a group that outlives the result; null where they cannot read each other's
/// memory: on CPUs, in several processes, alone, or where only NCCL is to move data.
std::shared_ptr<PeerAccess> make_peer_access(Communicator& group);

}  // namespace megalith
