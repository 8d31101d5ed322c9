#include "megalith/train/train_step.h"

#include <cmath>

#include "megalith/base/log.h"
#include "megalith/core/memory/activation_arena.h"
#include "megalith/ops/update.h"
#include "megalith/optim/clip.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/parallel/stage_layout.h"

namespace megalith {
namespace {

// Of a pair of a forward and a backward, all of it is the backward's.
Phase phase_of(const Action& action) {
  if (!action.is_compute()) return Phase::kTransfer;
  return action.kind == ActionKind::kForward ? Phase::kForward : Phase::kBackward;
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
  const ArenaScope arena(exec.pool(), "activations", "training step");
  LanguageModel& model = *parts_.model;
  ParameterStore& parameters = model.parameters();
  const Mesh& mesh = *parts_.mesh;
  StepResult result{.lr = parts_.schedule->lr(schedule_samples),
                    .weight_decay = parts_.schedule->weight_decay(schedule_samples)};
  LossScaler* scaler = parts_.loss_scaler;
  const double loss_scale = scaler != nullptr ? scaler->scale() : 1;
  if (scaler != nullptr && scaler->kind() != LossScaler::Kind::kNone) result.loss_scale = loss_scale;
  const bool is_profiled = train_.profiles_step(step);
  PhaseClock clock(is_profiled ? PhaseClock::Times::kHostAndDevice : PhaseClock::Times::kHost, exec);

  data_parallel_.begin_step(pipeline_.num_microbatches);
  const auto timed_batch = [&](HostBatch& batch) {
    clock.stop(Phase::kForward);
    const PhaseRange range(Phase::kData, exec);
    next_batch(batch);
    clock.stop(Phase::kData);
  };
  const LossScaling scaling = train_.calculate_per_token_loss ? LossScaling::kSum : LossScaling::kMean;
  PipelinePass pass(model, mesh, pipeline_,
                    {.recompute = train_.recompute_policy(),
                     .rng = exec.rng().fold("train").fold(static_cast<uint64_t>(step)),
                     .scaling = scaling,
                     .graphs = graphs(exec),
                     .loss_scale = loss_scale,
                     .host_copies = host_copies(exec),
                     .offload = {.num_segments = train_.cpu_offloading_num_layers}},
                    timed_batch, exec);
  for (const Action& action : pipeline_.ranks[static_cast<size_t>(mesh.pp().rank())]) {
    const PhaseRange range(phase_of(action), exec);
    pass.run(action);
    if (train_.timing_log_level > 0) exec.synchronize();
    clock.stop(phase_of(action));
  }
  {
    const PhaseRange range(Phase::kGradientSum, exec);
    data_parallel_.finish_gradients(exec);
    clock.stop(Phase::kGradientSum);
  }

  OwnLosses own{.num_tokens = pass.num_tokens(), .scaling = scaling, .loss_scale = loss_scale};
  double norm = 0;
  if (update_graphs_ != nullptr) {
    // The device goes through to the end of the step before the host knows what came out.
    if (parts_.before_update) parts_.before_update();
    update_graphs_->measure({.lr = result.lr,
                             .weight_decay = result.weight_decay,
                             .to_mean = to_mean(scaling, own.num_tokens, loss_scale)});
    clock.stop(Phase::kNorm);
    update_graphs_->update();
    StepMeasures measures = update_graphs_->wait();
    clock.stop(Phase::kOptimizer);
    own.loss = measures.loss;
    own.router_losses = std::move(measures.router_losses);
    norm = measures.grad_norm;
  } else {
    own.loss = pass.loss();
    own.router_losses = take_router_losses(model, exec);
    own.dropped_choices = take_dropped_choices(model, exec);
    norm = global_grad_norm(parameters, mesh, exec);
    clock.stop(Phase::kNorm);
  }
  const StepLosses losses = sum_losses(own, mesh, exec);
  result.loss = losses.loss;
  result.load_balancing_loss = losses.load_balancing;
  result.z_loss = losses.z;
  result.dropped_choices = losses.dropped_choices;
  result.grad_norm = norm * losses.to_mean;
  result.is_finite = std::isfinite(result.loss) && std::isfinite(result.grad_norm);
  result.was_skipped = skips_update(step, result);
  const PhaseRange range(Phase::kOptimizer, exec);
  if (update_graphs_ == nullptr) {
    if (parts_.before_update) parts_.before_update();
    if (!result.was_skipped) {
      const double grad_scale = clip_coefficient(result.grad_norm, clip_grad_) * losses.to_mean;
      parts_.optimizer->step({.lr = result.lr, .weight_decay = result.weight_decay, .grad_scale = grad_scale},
                             exec);
    }
    model.after_step(exec);
  }
  if (!result.was_skipped) data_parallel_.weights_changed(exec);
  if (train_.timing_log_level > 0) exec.synchronize();
  clock.stop(Phase::kOptimizer);
  result.times = clock.host();
  if (is_profiled) result.device_times = clock.device();
  return result;
}

HostCopies* TrainStep::host_copies(Exec& exec) {
  if (train_.cpu_offloading_num_layers == 0) return nullptr;
  if (host_copies_ == nullptr) host_copies_ = std::make_unique<HostCopies>(exec);
  return host_copies_.get();
}

MicrobatchGraphs* TrainStep::graphs(Exec& exec) {
  if (train_.cuda_graph_impl == "none" || eager_steps_++ < train_.cuda_graph_warmup_steps) return nullptr;
  if (graphs_ == nullptr) {
    graphs_ = std::make_unique<MicrobatchGraphs>(*parts_.model, train_.recompute_policy(), exec);
    const bool is_always_applied = train_.nan_policy == "warn" && !has_dynamic_scale();
    update_graphs_ =
        std::make_unique<UpdateGraphs>(UpdateGraphs::Parts{.model = parts_.model,
                                                           .optimizer = parts_.optimizer,
                                                           .mesh = parts_.mesh,
                                                           .loss = graphs_->loss(),
                                                           .clip_grad = clip_grad_,
                                                           .is_always_applied = is_always_applied},
                                       exec);
  }
  return graphs_.get();
}

bool TrainStep::has_dynamic_scale() const {
  return parts_.loss_scaler != nullptr && parts_.loss_scaler->kind() == LossScaler::Kind::kDynamic;
}

bool TrainStep::skips_update(int64_t step, const StepResult& result) {
  LossScaler* scaler = parts_.loss_scaler;
  const bool is_dynamic = has_dynamic_scale();
  if (is_dynamic) scaler->update(!result.is_finite);
  if (result.is_finite) return false;
  const std::string message =
      fmt::format("step {}: loss {}, gradient norm {}", step, result.loss, result.grad_norm);
  if (is_dynamic) {
    log_info("{} at loss scale {}: update skipped; next loss scale {}", message, *result.loss_scale,
             scaler->scale());
    return true;
  }
  MG_CHECK(train_.nan_policy != "stop",
           "{}; the weights are those of step {} (nan_policy: stop; also: skip, warn)", message, step - 1);
  const bool is_skipped = train_.nan_policy == "skip";
  log_warn("{}{}", message, is_skipped ? ": update skipped" : "");
  return is_skipped;
}

}  // namespace megalith
