#pragma once
// defines: LayerSize, layer_size, StageWork, stage_work

#include "megalith/parallel/mesh_shape.h"
#include "megalith/parallel/pipeline/layer_split.h"
#include "megalith/plan/cluster.h"
#include "megalith/train/train_config.h"

namespace megalith {

/// Parameters of one layer, by who shares them.
struct LayerSize {
  int64_t sharded = 0;     ///< matrices cut over tp
  int64_t replicated = 0;  ///< norms, routers, biases of row-parallel layers
  int64_t experts = 0;     ///< all routed experts of the layer, cut over ep x etp
  int64_t active = 0;      ///< matrices that a token passes: sharded ones, its experts, the router
};
LayerSize layer_size(const GptConfig& model, bool has_experts);

/// Seconds of one microbatch in one pipeline stage on one GPU, without communication.
struct StageWork {
  double forward = 0;
  double backward_input = 0;
  double backward_weight = 0;
  double total() const { return forward + backward_input + backward_weight; }
};

/// Matrix products at the cluster's rate for products, attention at its own, norms, rotary embedding,
/// activations and sums by their bytes. The fused head computes its gradients in the forward. Full recompute
/// runs the forward once more. A forward, or a backward, takes at least as long as the copies of what its
/// layers keep on the host; kernel launches and small products' lower rates are not in it.
StageWork stage_work(const RunConfig& config, const MeshShape& shape, const StageLayers& stage,
                     const Cluster& cluster);

}  // namespace megalith
