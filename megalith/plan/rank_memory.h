#pragma once
// defines: RankMemory, rank_memory

#include "megalith/plan/rank_parameters.h"

namespace megalith {

/// Bytes that one rank will hold.
struct RankMemory {
  int64_t parameters = 0;
  int64_t gradients = 0;    ///< f32
  int64_t optimizer = 0;    ///< f32 moments, and master weights of a bf16 model
  int64_t activations = 0;  ///< at the peak
  int64_t total() const { return parameters + gradients + optimizer + activations; }
};

/// Activations: what the nodes of a microbatch keep, times those in flight. Per token and layer, in elements
/// of the model's dtype: the residual stream twice, two norm outputs and the MLP activation (none of these
/// three under selective recompute), the QKV rows, the attention output, the fc1 output; with experts their
/// input, fc1 output and activation once for each that a token takes. Under full recompute the layer's input
/// alone, and one layer at a time in the backward. The head keeps one chunk of logits. Not counted: padding,
/// scratch, what the allocator rounds up, buffers of the communication library.
RankMemory rank_memory(const RunConfig& config, const MeshShape& shape, const PipelinePlan& pipeline,
                       int pipeline_rank);

}  // namespace megalith
