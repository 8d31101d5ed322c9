#include "megalith/train/train_step.h"

#include <chrono>
#include <cmath>

#include "megalith/base/log.h"
#include "megalith/optim/clip.h"
#include "megalith/train/device_batch.h"

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

}  // namespace

StepResult TrainStep::run(int64_t step, int64_t schedule_samples, const NextBatch& next_batch, Exec& exec) {
  LanguageModel& model = *parts_.model;
  ParameterStore& parameters = model.parameters();
  const int64_t num_microbatches = train_.num_microbatches();
  const RngKey step_rng = exec.rng().fold("train").fold(static_cast<uint64_t>(step));
  StepResult result{.lr = parts_.schedule->lr(schedule_samples),
                    .weight_decay = parts_.schedule->weight_decay(schedule_samples)};
  PhaseClock clock;

  parameters.mark_gradients_fresh();
  for (int64_t microbatch = 0; microbatch < num_microbatches; ++microbatch) {
    next_batch(host_batch_);
    DeviceBatch batch = make_device_batch(host_batch_, LossScaling::kMean, num_microbatches, exec);
    batch.context.rng = step_rng.fold(static_cast<uint64_t>(microbatch));
    batch.context.is_training = true;
    clock.stop(result.data_ms);

    const OwnerScope scope(exec.ledger(), "activations");
    Tape tape(exec, {.is_recording = true, .recompute = train_.recompute_policy()});
    const Var loss = model.loss(tape, batch.context, batch.tokens);
    result.loss += to_vector<double>(loss.data)[0];
    clock.stop(result.forward_ms);

    tape.backward(loss, exec.from_host(std::span<const float>({1.0f}), {1}));
    exec.synchronize();  // the gradient norm would wait too; here the time goes to its phase
    clock.stop(result.backward_ms);
  }
  parameters.finish_gradients(exec);

  result.grad_norm = global_grad_norm(parameters, exec);
  result.is_finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
  if (!result.is_finite) {
    const std::string message =
        fmt::format("step {}: loss {}, gradient norm {}", step, result.loss, result.grad_norm);
    MG_CHECK(train_.nan_policy != "stop",
             "{}; the weights are those of step {} (nan_policy: stop; also: skip, warn)", message, step - 1);
    result.was_skipped = train_.nan_policy == "skip";
    log_warn("{}{}", message, result.was_skipped ? ": update skipped" : "");
  }
  if (!result.was_skipped) {
    const double grad_scale = clip_coefficient(result.grad_norm, clip_grad_);
    parts_.optimizer->step({.lr = result.lr, .weight_decay = result.weight_decay, .grad_scale = grad_scale},
                           exec);
  }
  clock.stop(result.optimizer_ms);
  return result;
}

}  // namespace megalith
