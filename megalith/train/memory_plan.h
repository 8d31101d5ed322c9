#pragma once
// defines: MemoryPlan, plan_memory

#include <cstdint>

#include "megalith/train/train_config.h"

namespace megalith {

/// Bytes that a run will hold, from its recipe alone.
struct MemoryPlan {
  int64_t parameters = 0;
  int64_t gradients = 0;    ///< f32
  int64_t optimizer = 0;    ///< f32 moments, and master weights of a bf16 model
  int64_t activations = 0;  ///< at the peak, where the backward of the output head begins
  int64_t total() const { return parameters + gradients + optimizer + activations; }
};

/// Activations: what the nodes of one microbatch keep. Per token and layer, in elements of the model's dtype:
/// the residual stream twice, two norm outputs and the MLP activation (none of these three under selective
/// recompute), the QKV rows, the attention output, the fc1 output; under full recompute the layer's input
/// alone, and one layer at a time in the backward. The head
/// keeps one chunk of logits.
MemoryPlan plan_memory(const RunConfig& config);

}  // namespace megalith
