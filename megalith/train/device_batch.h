#pragma once
// defines: DeviceBatch, make_device_batch

#include "megalith/data/host_batch.h"
#include "megalith/models/language_model.h"

namespace megalith {

/// A microbatch as the model takes it.
struct DeviceBatch {
  TokenBatch tokens;
  ForwardContext context;
  double num_tokens = 0;  ///< tokens whose loss counts
};

enum class LossScaling {
  kMean,  ///< weights sum to 1 / num_microbatches: the step's loss is the mean of the microbatches' means
          ///< (Megatron's default)
  kSum,   ///< weights are the mask: for evaluation, divided by the token count at the end
};

DeviceBatch make_device_batch(const HostBatch& host, LossScaling scaling, int64_t num_microbatches,
                              Exec& exec);

}  // namespace megalith
