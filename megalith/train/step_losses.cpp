#include "megalith/train/step_losses.h"

#include <algorithm>
#include <array>

#include "megalith/ops/elementwise.h"

namespace megalith {

double to_mean(LossScaling scaling, double num_tokens, double loss_scale) {
  const double tokens = scaling == LossScaling::kSum ? std::max(num_tokens, 1.0) : 1;
  return 1 / tokens / loss_scale;
}

std::vector<double> take_router_losses(LanguageModel& model, Exec& exec) {
  std::vector<double> taken;
  for (const RouterView& router : model.routers()) {
    const std::vector<double> losses = to_vector<double>(router.state->losses);
    fill(router.state->losses, 0, exec);
    taken.insert(taken.end(), losses.begin(), losses.end());
  }
  return taken;
}

double take_dropped_choices(LanguageModel& model, Exec& exec) {
  double sum = 0;
  for (const RouterView& router : model.routers()) {
    const Tensor& dropped = router.state->dropped;
    if (!dropped.defined()) continue;
    sum += to_vector<double>(dropped)[0];
    fill(dropped, 0, exec);
  }
  return sum;
}

StepLosses sum_losses(const OwnLosses& own, const Mesh& mesh, Exec& exec) {
  // Tensor-parallel ranks have the same loss; their routers saw different tokens under sequence parallelism.
  const bool is_first = mesh.tp().rank() == 0;
  const bool has_own_tokens = is_first || mesh.is_sequence_parallel();
  // All ranks of a pipeline have the same tokens, and context-parallel ones count those of whole sequences.
  const bool counts_tokens = is_first && mesh.is_first_stage() && mesh.cp().rank() == 0;
  // Ranks of etp hold parts of the same experts and drop the same choices.
  const double dropped = mesh.rank(Axis::kEtp) == 0 ? own.dropped_choices : 0;
  // loss, load balance, z, routers, tokens, dropped choices
  std::array<double, 6> sums = {
      is_first ? own.loss : 0, 0, 0, 0, counts_tokens ? own.num_tokens : 0, dropped};
  for (size_t i = 0; i + 1 < own.router_losses.size(); i += 2) {
    sums[1] += has_own_tokens ? own.router_losses[i] : 0;
    sums[2] += has_own_tokens ? own.router_losses[i + 1] : 0;
    sums[3] += 1;
  }
  if (mesh.world().size() > 1) {
    const Tensor total = exec.from_host(std::span<const double>(sums), {6});
    mesh.world().all_reduce(total, ReduceOp::kSum, "losses");
    const std::vector<double> values = to_vector<double>(total);
    std::copy(values.begin(), values.end(), sums.begin());
  }
  const double factor = to_mean(own.scaling, sums[4], own.loss_scale);
  StepLosses losses{.loss = sums[0] * factor, .dropped_choices = sums[5], .to_mean = factor};
  // Every rank of a pipeline stage counted the stage's routers.
  const double layers = sums[3] * mesh.shape().pp / mesh.shape().world;
  if (sums[1] != 0) losses.load_balancing = sums[1] * factor / layers;
  if (sums[2] != 0) losses.z = sums[2] * factor / layers;
  return losses;
}

}  // namespace megalith
