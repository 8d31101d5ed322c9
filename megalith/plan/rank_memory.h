#pragma once
// defines: RankMemory, rank_memory, layer_bytes, is_on_host

#include "megalith/plan/rank_parameters.h"

namespace megalith {

/// Bytes that one rank will hold.
struct RankMemory {
  int64_t parameters = 0;
  int64_t gradients = 0;    ///< main_grads_dtype
  int64_t optimizer = 0;    ///< f32 moments, and master weights of a bf16 model
  int64_t activations = 0;  ///< at the peak
  int64_t total() const { return parameters + gradients + optimizer + activations; }
};

/// Activations: what the nodes of a microbatch keep, times those in flight. Per token and layer, in elements
/// of the model's dtype: the residual stream twice, two norm outputs and the MLP activation (none of these
/// three under selective recompute), the QKV rows, the attention output, the fc1 output; with experts their
/// input, fc1 output and activation once for each that a token takes. Under full recompute the layer's input
/// alone, and one layer at a time in the backward. Layers whose activations are offloaded hold nothing. The
/// head keeps one chunk of logits. Not counted: padding, scratch, what the allocator rounds up, buffers of
/// the communication library.
RankMemory rank_memory(const RunConfig& config, const MeshShape& shape, const PipelinePlan& pipeline,
                       int pipeline_rank);

/// What one layer keeps of one token on one tensor-parallel rank, without full recompute.
int64_t layer_bytes(const RunConfig& config, const MeshShape& shape, bool is_moe);

/// Whether what a layer of the stage keeps waits on the host.
inline bool is_on_host(const RunConfig& config, const StageLayers& stage, int64_t layer) {
  return layer - stage.first < config.train.cpu_offloading_num_layers;
}

}  // namespace megalith
