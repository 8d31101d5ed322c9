#pragma once
// defines: Mesh

#include <map>
#include <memory>

#include "megalith/autograd/functions/column_parallel_linear.h"
#include "megalith/comm/communicator.h"
#include "megalith/comm/peer_access.h"
#include "megalith/parallel/mesh_shape.h"

namespace megalith {

/// One rank's place in the layout of a run, and the groups in which it meets its peers. A group of one needs
/// no transport, so a run of one rank pays for none of this.
class Mesh {
 public:
  /// The layout of one rank.
  Mesh();
  /// Collective over `world`, which must outlive the mesh and everything built on it.
  Mesh(Communicator& world, const ParallelConfig& config);

  const MeshShape& shape() const { return shape_; }
  const ParallelConfig& config() const { return config_; }
  Communicator& world() const { return *world_; }

  int size(Axis axis) const { return shape_.size(axis); }
  /// This rank's place along an axis.
  int rank(Axis axis) const { return groups_.at(axis)->rank(); }
  Communicator& group(Axis axis) const { return *groups_.at(axis); }
  Communicator& tp() const { return group(Axis::kTp); }
  /// The tensor-parallel ranks for products that hide what they send.
  TensorGroups tensor_groups() const {
    return {&tp(), tp_beside_.get(), is_sequence_parallel(), splits_products_};
  }
  /// Their memory, where norms sum, normalise and gather in one kernel (tp_comm_fused_norm); else null.
  PeerAccess* tp_peers() const { return tp_peers_.get(); }
  Communicator& cp() const { return group(Axis::kCp); }
  /// Of cp_comm_type a2a+p2p, else null: neighbours among the context-parallel ranks.
  Communicator* cp_inner() const { return cp_inner_.get(); }
  /// Ranks whose keys and values go round: with p2p all context-parallel ranks, with a2a+p2p those of equal
  /// place among their neighbours, else null. Beside compute with cp_comm_overlap.
  Communicator* cp_ring() const { return cp_ring_.get(); }
  Communicator& pp() const { return group(Axis::kPp); }
  /// Ranks with the same dense weights: dp x cp, over which their gradients are summed.
  Communicator& dp_cp() const { return *dp_cp_; }
  /// The ranks of the ep axis, for rows that travel to their experts and back: beside compute with
  /// moe_shared_expert_overlap and overlap_moe_expert_parallel_comm.
  Communicator& expert_exchange() const { return ep_beside_ ? *ep_beside_ : group(Axis::kEp); }
  /// The same for their gradients; with overlap_moe_expert_parallel_comm a group of its own, so that the
  /// forward of one microbatch and the backward of another each wait for their own rows alone.
  Communicator& expert_gradient_exchange() const {
    return ep_gradients_beside_ ? *ep_gradients_beside_ : expert_exchange();
  }
  /// Ranks with the same expert weights.
  Communicator& edp() const { return group(Axis::kEdp); }
  /// The first and the last pipeline stage, which share tied embeddings; null elsewhere.
  Communicator* embedding_group() const { return embedding_group_.get(); }

  bool is_sequence_parallel() const { return config_.sequence_parallel && shape_.tp > 1; }
  bool is_first_stage() const { return rank(Axis::kPp) == 0; }
  bool is_last_stage() const { return rank(Axis::kPp) == shape_.pp - 1; }

 private:
  ParallelConfig config_;
  MeshShape shape_;
  std::unique_ptr<Communicator> self_;
  Communicator* world_;
  std::map<Axis, std::unique_ptr<Communicator>> groups_;
  std::unique_ptr<Communicator> tp_beside_;
  bool splits_products_ = false;
  std::shared_ptr<PeerAccess> tp_peers_;
  std::unique_ptr<Communicator> ep_beside_, ep_gradients_beside_;
  std::unique_ptr<Communicator> cp_inner_, cp_ring_;
  std::unique_ptr<Communicator> dp_cp_;
  std::unique_ptr<Communicator> embedding_group_;
};

}  // namespace megalith
