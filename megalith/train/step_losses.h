#pragma once
// defines: StepLosses, sum_losses

#include <optional>

#include "megalith/models/language_model.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// Of a whole step, the same on every rank.
struct StepLosses {
  double loss = 0;
  /// The routers' auxiliary losses (ops/route.h) without their coefficients, mean over the layers with
  /// experts, as Megatron logs them; nothing where a model has none of that kind.
  std::optional<double> load_balancing, z;
};

/// From what this rank has: the loss of its microbatches and the books of its routers, which are cleared. One
/// sum over the ranks. Waits for the device.
StepLosses sum_losses(double own_loss, LanguageModel& model, const Mesh& mesh, Exec& exec);

}  // namespace megalith
