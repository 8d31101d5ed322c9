#pragma once
// defines: InlineTraffic, tensor_traffic, context_traffic, expert_traffic, ranks_of_token

#include "megalith/parallel/mesh_shape.h"
#include "megalith/plan/traffic.h"
#include "megalith/train/train_config.h"

namespace megalith {

/// Of one axis and one microbatch in one layer: collectives that wait for the layer, and it for them.
struct InlineTraffic {
  double forward_bytes = 0, backward_bytes = 0;  ///< over a GPU's link
  double forward_seconds = 0, backward_seconds = 0;
  double hidden_forward_seconds = 0, hidden_backward_seconds = 0;  ///< of these, what runs beside compute
};

/// tp: two sums of the residual stream each way; under sequence parallelism a gather and a scatter each, and
/// in the backward each gathered input once more, which column-parallel layers hide with the sum of their
/// input's gradient, unless the schedule puts weight gradients off; products in pieces hide the rest. cp:
/// keys and values around the ring to the ranks that see them (sliding windows, the mean over the layers;
/// with hybrid_context_parallel as many as a row that is one document needs) and their gradients back, which
/// cp_comm_overlap hides beside attention (taken to be long enough), or four all-to-alls, or a gather and a
/// scatter. ep (layers with experts): dispatch and combine each way, a token once for each rank that holds
/// some of its experts, all of them equally likely.
InlineTraffic tensor_traffic(const RunConfig& config, const MeshShape& shape, const Link& link);
InlineTraffic context_traffic(const RunConfig& config, const MeshShape& shape, const Link& link);
InlineTraffic expert_traffic(const RunConfig& config, const MeshShape& shape, const Link& link);

/// How many of the ranks hold some of a token's experts, when each choice of experts is equally likely.
double ranks_of_token(const MoeConfig& moe, int ranks);

}  // namespace megalith
