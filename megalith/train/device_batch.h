#pragma once
// defines: DeviceBatch, make_device_batch

#include "megalith/data/host_batch.h"
#include "megalith/models/language_model.h"
#include "megalith/parallel/mesh.h"

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
  kSum,   ///< weights are the mask: what comes of it is divided by the token count at the end
};

/// Of `size` ranks that share every sequence (context parallelism), this one's place.
struct ContextShare {
  int rank = 0, size = 1;
  int64_t max_seqlen_per_rank = 0;  ///< of documents (token_share.h)
};
inline ContextShare context_share(const Mesh& mesh) {
  return {mesh.cp().rank(), mesh.cp().size(), mesh.config().max_seqlen_per_dp_cp_rank};
}

/// This rank's tokens of the microbatch; num_tokens and the means are those of the whole. All weights are
/// times `loss_scale`.
DeviceBatch make_device_batch(const HostBatch& host, LossScaling scaling, int64_t num_microbatches,
                              ContextShare share, Exec& exec, double loss_scale = 1);
inline DeviceBatch make_device_batch(const HostBatch& host, LossScaling scaling, int64_t num_microbatches,
                                     Exec& exec) {
  return make_device_batch(host, scaling, num_microbatches, ContextShare{}, exec);
}

}  // namespace megalith
