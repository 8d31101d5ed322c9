#pragma once
// defines: StepLosses, sum_losses

#include <optional>

#include "megalith/models/language_model.h"
#include "megalith/parallel/mesh.h"
#include "megalith/train/device_batch.h"

namespace megalith {

/// Of a whole step, the same on every rank.
struct StepLosses {
  double loss = 0;
  /// The routers' auxiliary losses (ops/route.h) without their coefficients, mean over the layers with
  /// experts, as Megatron logs them; nothing where a model has none of that kind.
  std::optional<double> load_balancing, z;
  double to_mean =
      1;  ///< what makes gradients those of `loss`: 1 / loss_scale, under kSum / tokens of the step
};

/// What this rank has of them.
struct OwnLosses {
  double loss = 0;        ///< of its microbatches
  double num_tokens = 0;  ///< whose loss counts, in its microbatches
  LossScaling scaling = LossScaling::kMean;
  double loss_scale = 1;  ///< that `loss`, routers' losses and gradients are times
};

/// From what this rank has: the losses of its microbatches and the books of its routers, which are cleared.
/// One sum over the ranks. Waits for the device.
StepLosses sum_losses(const OwnLosses& own, LanguageModel& model, const Mesh& mesh, Exec& exec);

}  // namespace megalith
