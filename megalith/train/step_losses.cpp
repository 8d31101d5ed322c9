#include "megalith/train/step_losses.h"

#include <array>

#include "megalith/ops/elementwise.h"

namespace megalith {

StepLosses sum_losses(double own_loss, LanguageModel& model, const Mesh& mesh, Exec& exec) {
  // Tensor-parallel ranks have the same loss; their routers saw different tokens under sequence parallelism.
  const bool is_first = mesh.tp().rank() == 0;
  const bool has_own_tokens = is_first || mesh.is_sequence_parallel();
  std::array<double, 4> sums = {is_first ? own_loss : 0, 0, 0, 0};  // loss, load balance, z, routers
  for (const RouterView& router : model.routers()) {
    const std::vector<double> losses = to_vector<double>(router.state->losses);
    fill(router.state->losses, 0, exec);
    sums[1] += has_own_tokens ? losses[0] : 0;
    sums[2] += has_own_tokens ? losses[1] : 0;
    sums[3] += 1;
  }
  if (mesh.world().size() > 1) {
    const Tensor total = exec.from_host(std::span<const double>(sums), {4});
    mesh.world().all_reduce(total, ReduceOp::kSum, "losses");
    const std::vector<double> values = to_vector<double>(total);
    std::copy(values.begin(), values.end(), sums.begin());
  }
  StepLosses losses{.loss = sums[0]};
  // Every rank of a pipeline stage counted the stage's routers.
  const double layers = sums[3] * mesh.shape().pp / mesh.shape().world;
  if (sums[1] != 0) losses.load_balancing = sums[1] / layers;
  if (sums[2] != 0) losses.z = sums[2] / layers;
  return losses;
}

}  // namespace megalith
