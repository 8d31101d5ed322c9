#include "megalith/train/train_step.h"

#include <chrono>
#include <cmath>

#include "megalith/base/log.h"
#include "megalith/optim/clip.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/parallel/stage_layout.h"
#include "megalith/train/step_losses.h"

namespace megalith {
namespace {

// Adds the time since the last call to one phase after another.
class PhaseClock {
 public:
  void stop(double& phase_ms) {
    const auto now = std::chrono::steady_clock::now();
    phase_ms += std::chrono::duration<double, std::milli>(now - last_).count();
    last_ = now;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

double& phase_of(const Action& action, StepResult& result) {
  if (!action.is_compute()) return result.transfer_ms;
  return action.kind == ActionKind::kForward ? result.forward_ms : result.backward_ms;
}

}  // namespace

TrainStep::TrainStep(const Parts& parts, const TrainConfig& train, double clip_grad)
    : parts_(parts),
      train_(train),
      clip_grad_(clip_grad),
      pipeline_(make_schedule(
          schedule_options(parts.mesh->config(), train.num_microbatches(parts.mesh->size(Axis::kDp))))),
      data_parallel_(parts.model->parameters(), *parts.mesh) {}

StepResult TrainStep::run(int64_t step, int64_t schedule_samples, const NextBatch& next_batch, Exec& exec) {
  LanguageModel& model = *parts_.model;
  ParameterStore& parameters = model.parameters();
  const Mesh& mesh = *parts_.mesh;
  StepResult result{.lr = parts_.schedule->lr(schedule_samples),
                    .weight_decay = parts_.schedule->weight_decay(schedule_samples)};
  PhaseClock clock;

  data_parallel_.begin_step(pipeline_.num_microbatches);
  const auto timed_batch = [&](HostBatch& batch) {
    clock.stop(result.forward_ms);
    next_batch(batch);
    clock.stop(result.data_ms);
  };
  const LossScaling scaling = train_.calculate_per_token_loss ? LossScaling::kSum : LossScaling::kMean;
  PipelinePass pass(model, mesh, pipeline_,
                    {.recompute = train_.recompute_policy(),
                     .rng = exec.rng().fold("train").fold(static_cast<uint64_t>(step)),
                     .scaling = scaling},
                    timed_batch, exec);
  for (const Action& action : pipeline_.ranks[static_cast<size_t>(mesh.pp().rank())]) {
    pass.run(action);
    if (train_.timing_log_level > 0) exec.synchronize();
    clock.stop(phase_of(action, result));
  }
  data_parallel_.finish_gradients(exec);
  clock.stop(result.reduce_ms);

  const StepLosses losses = sum_losses(
      {.loss = pass.loss(), .num_tokens = pass.num_tokens(), .scaling = scaling}, model, mesh, exec);
  result.loss = losses.loss;
  result.load_balancing_loss = losses.load_balancing;
  result.z_loss = losses.z;
  result.grad_norm = global_grad_norm(parameters, mesh, exec) * losses.to_mean;
  result.is_finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
  if (!result.is_finite) {
    const std::string message =
        fmt::format("step {}: loss {}, gradient norm {}", step, result.loss, result.grad_norm);
    MG_CHECK(train_.nan_policy != "stop",
             "{}; the weights are those of step {} (nan_policy: stop; also: skip, warn)", message, step - 1);
    result.was_skipped = train_.nan_policy == "skip";
    log_warn("{}{}", message, result.was_skipped ? ": update skipped" : "");
  }
  if (parts_.before_update) parts_.before_update();
  if (!result.was_skipped) {
    const double grad_scale = clip_coefficient(result.grad_norm, clip_grad_) * losses.to_mean;
    parts_.optimizer->step({.lr = result.lr, .weight_decay = result.weight_decay, .grad_scale = grad_scale},
                           exec);
    data_parallel_.weights_changed(exec);
  }
  model.after_step(exec);
  if (train_.timing_log_level > 0) exec.synchronize();
  clock.stop(result.optimizer_ms);
  return result;
}

}  // namespace megalith
