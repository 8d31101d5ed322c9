#include "megalith/parallel/mesh.h"

namespace megalith {
namespace {

constexpr Axis kAxes[] = {Axis::kTp, Axis::kCp, Axis::kDp, Axis::kPp, Axis::kEtp, Axis::kEp, Axis::kEdp};

std::unique_ptr<Communicator> split_along(Communicator& world, const RankLayout& layout,
                                          const std::vector<Axis>& axes, SplitOptions options) {
  const std::vector<int> ranks = layout.group(world.rank(), axes);
  // All groups of an axis are as large, so no rank is left out of the split that another takes part in.
  if (ranks.size() == 1) return make_self_communicator();
  options.colour = ranks.front();
  options.key = world.rank();
  return world.split(options);
}

}  // namespace

Mesh::Mesh() : self_(make_self_communicator()), world_(self_.get()) {
  for (const Axis axis : kAxes) groups_[axis] = make_self_communicator();
  dp_cp_ = make_self_communicator();
  tp_beside_ = make_self_communicator();
}

Mesh::Mesh(Communicator& world, const ParallelConfig& config)
    : config_(config), shape_(mesh_shape(config, world.size())), world_(&world) {
  validate(config);
  const RankLayout layout(shape_);
  for (const Axis axis : kAxes) groups_[axis] = split_along(world, layout, {axis}, {.name = name_of(axis)});
  tp_beside_ = split_along(world, layout, {Axis::kTp}, {.name = "tp beside", .order = CommOrder::kBeside});
  if (is_sequence_parallel()) {
    // Products in pieces are right on CPUs, for the same numbers everywhere, and where copy engines carry the
    // pieces; NCCL's kernels would take multiprocessors from the products.
    const std::shared_ptr<PeerAccess> peers = make_peer_access(tp());
    const bool is_of_cpus = &tp().host() == &tp();
    splits_products_ = config.tp_comm_overlap && (is_of_cpus || peers != nullptr);
    if (config.tp_comm_fused_norm) tp_peers_ = peers;
  }
  if (config.moe_shared_expert_overlap || config.overlap_moe_expert_parallel_comm)
    ep_beside_ = split_along(world, layout, {Axis::kEp}, {.name = "ep beside", .order = CommOrder::kBeside});
  if (config.overlap_moe_expert_parallel_comm)
    ep_gradients_beside_ =
        split_along(world, layout, {Axis::kEp}, {.name = "ep gradients beside", .order = CommOrder::kBeside});
  dp_cp_ = split_along(world, layout, {Axis::kDp, Axis::kCp}, {.name = "dp-cp"});
  const CommOrder ring_order = config.cp_comm_overlap ? CommOrder::kBeside : CommOrder::kInline;
  if (config.cp_comm_type == "p2p") {
    cp_ring_ = split_along(world, layout, {Axis::kCp}, {.name = "cp ring", .order = ring_order});
  } else if (config.cp_comm_type == "a2a+p2p") {
    const int place = cp().rank(), inner = static_cast<int>(config.hierarchical_context_parallel_sizes[0]);
    cp_inner_ = cp().split({.colour = place / inner, .key = place, .name = "cp inner"});
    cp_ring_ = cp().split({.colour = place % inner, .key = place, .name = "cp ring", .order = ring_order});
  }
  if (shape_.pp > 1) {
    const bool is_end = is_first_stage() || is_last_stage();
    embedding_group_ = world.split(
        {.colour = is_end ? layout.group(world.rank(), {Axis::kPp}).front() : SplitOptions::kNoColour,
         .key = world.rank(),
         .name = "embedding"});
  }
}

}  // namespace megalith
