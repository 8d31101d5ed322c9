#pragma once
// defines: DataSharing, data_sharing

#include <memory>

#include "megalith/autograd/parameter.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// What data-parallel ranks share: Megatron's data_parallel_sharding_strategy. Each takes in the ones before.
enum class DataSharding {
  kNothing,    ///< no_shard: every rank keeps everything
  kOptimizer,  ///< optim: the optimizer's state (ZeRO-1, Rajbhandari et al. 2020)
  kGradients,  ///< optim_grads (ZeRO-2)
  kWeights,    ///< optim_grads_params (ZeRO-3, fully sharded data parallelism)
};
DataSharding data_sharding(const Mesh& mesh);

/// How the mesh's layout cuts the flat buffers. The ranks that hold the same parameters fall into
/// num_distributed_optimizer_instances groups of neighbours; shares are cut within one, and the groups are
/// copies of each other (hybrid sharding). Throws UsageError where the instances do not divide the ranks.
FlatSharing data_sharing(const Mesh& mesh);

/// The ranks that hold the same parameters of one kind, `copies` of the mesh, as groups that work beside
/// compute: those of one instance, which share, and those with the same share of all instances. Each is null
/// where it would be this rank alone.
struct ShareGroups {
  std::unique_ptr<Communicator> reduce, gather;  ///< within the instance: one for each direction
  std::unique_ptr<Communicator> replicas;        ///< over the instances

  /// Collective over `copies`.
  static ShareGroups split(Communicator& copies, const FlatSharing::Cut& cut);
};

}  // namespace megalith
