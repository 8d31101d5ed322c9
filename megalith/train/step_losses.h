#pragma once
// defines: StepLosses, OwnLosses, to_mean, take_router_losses, take_dropped_choices, sum_losses

#include <optional>
#include <vector>

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
  double dropped_choices = 0;  ///< that found no room at their experts, of all ranks and layers
  double to_mean =
      1;  ///< what makes gradients those of `loss`: 1 / loss_scale, under kSum / tokens of the step
};

/// What this rank has of them.
struct OwnLosses {
  double loss = 0;                    ///< of its microbatches
  std::vector<double> router_losses;  ///< load balance and z of each router
  double dropped_choices = 0;         ///< at the experts of this rank, of all its layers
  double num_tokens = 0;              ///< whose loss counts, in its microbatches
  LossScaling scaling = LossScaling::kMean;
  double loss_scale = 1;  ///< that `loss`, routers' losses and gradients are times
};

/// StepLosses::to_mean where the whole step has so many tokens.
double to_mean(LossScaling scaling, double num_tokens, double loss_scale);

/// From the books of this rank's routers, which are cleared. Waits for the device.
std::vector<double> take_router_losses(LanguageModel& model, Exec& exec);

/// OwnLosses::dropped_choices; where choices can be dropped, clears their books and waits for the device.
double take_dropped_choices(LanguageModel& model, Exec& exec);

/// One sum over the ranks.
StepLosses sum_losses(const OwnLosses& own, const Mesh& mesh, Exec& exec);

}  // namespace megalith
