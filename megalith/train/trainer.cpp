#include "megalith/train/trainer.h"

#include <algorithm>
#include <chrono>
#include <numeric>

#include "megalith/base/files.h"
#include "megalith/base/log.h"
#include "megalith/base/text.h"
#include "megalith/checkpoint/layout.h"
#include "megalith/core/cuda/cuda_timeline.h"
#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/device_code.h"
#include "megalith/ops/attention.h"
#include "megalith/ops/gemm.h"
#include "megalith/train/build_model.h"
#include "megalith/train/evaluate.h"

namespace megalith {
namespace {

constexpr size_t kRecentLosses = 10;

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

// Initial weights, and room for their gradients.
ParameterStore& fresh_parameters(LanguageModel& model, const OptimConfig& optim, Exec& exec) {
  model.parameters().initialize(exec);
  model.parameters().allocate_gradients(exec, optim.gradient_dtype());
  return model.parameters();
}

// A run that does not go on from what lies in its --save would write over it, step by step.
void check_save(const TrainConfig& train) {
  namespace fs = std::filesystem;
  if (train.save.empty()) return;
  const std::vector<int64_t> saved = saved_iterations(train.save);
  if (saved.empty()) return;
  const auto place = [](const std::string& path) {
    const fs::path whole = fs::absolute(path).lexically_normal();
    return whole.has_filename() ? whole : whole.parent_path();
  };
  const fs::path save = place(train.save);
  const fs::path load = train.load.empty() ? fs::path() : place(train.load);
  if (!train.finetune && (load == save || load.parent_path() == save)) return;
  throw UsageError(
      fmt::format("save {0}: holds checkpoints of another run, the last of step {1}, which this run from its "
                  "first step would write over; add --load {0} to go on from them, or name another directory",
                  train.save, saved.back()));
}

// What cannot run, a kernel on this GPU among it, is refused by name before the first step, not in the middle
// of one.
Exec& checked(Exec& exec, const TrainConfig& train) {
  check_save(train);
  if (train.allow_tf32) allow_tf32(exec);
  set_deterministic_attention(train.deterministic_mode, exec);
  if (exec.device().is_cpu() && train.cuda_graph_impl != "none")
    throw UsageError(fmt::format("cuda_graph_impl {} needs a GPU; device is cpu", train.cuda_graph_impl));
  if (exec.device().is_cpu() && train.cpu_offloading_num_layers > 0)
    throw UsageError(fmt::format(
        "cpu_offloading_num_layers {}: the device is a cpu, and what its layers keep is there; it "
        "needs a GPU",
        train.cpu_offloading_num_layers));
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) cuda::check_device_code(exec.cuda().limits());
  }
  return exec;
}

std::filesystem::path metrics_path(const TrainConfig& train) {
  if (!train.metrics.empty()) return train.metrics;
  return train.save.empty() ? std::filesystem::path() : std::filesystem::path(train.save) / "metrics.jsonl";
}

}  // namespace

Trainer::Trainer(const RunConfig& config, const Vocabulary& vocabulary, std::string config_yaml,
                 const Mesh& mesh, Exec& exec)
    : config_(config),
      config_yaml_(std::move(config_yaml)),
      mesh_(&mesh),
      exec_(&checked(exec, config.train)),
      masks_{.eod = vocabulary.eod,
             .eod_mask_loss = config.data.eod_mask_loss,
             .reset_position_ids = config.data.reset_position_ids,
             .reset_attention_mask = config.data.reset_attention_mask},
      model_(build_model(config.model, mesh, exec)),
      optimizer_(fresh_parameters(*model_, config.optim, exec), config.optim, exec),
      schedule_(config.optim, {.train_samples = config.train.train_iters * config.train.batch_size(),
                               .samples_per_iteration = config.train.batch_size()}),
      loss_scaler_(config.optim, config.model.fp16),
      step_({.model = model_.get(),
             .optimizer = &optimizer_,
             .schedule = &schedule_,
             .mesh = &mesh,
             .before_update = [this] { saver_.before_update(*exec_); },
             .loss_scaler = &loss_scaler_},
            config.train, config.optim.clip_grad),
      flops_(model_->flops_per_token(config.data.seq_length)) {
  const TrainConfig& train = config_.train;
  if (train.activation_arena) exec.pool().use_arena();
  const RunParts parts{.mesh = &mesh,
                       .parameters = &model_->parameters(),
                       .routers = model_->routers(),
                       .optimizer = &optimizer_,
                       .state = &state_,
                       .loss_scaler = &loss_scaler_,
                       .model_config = &config_.model,
                       .recipe = config_yaml_};
  if (train.finetune) {
    load_run_weights(train.load, *model_, optimizer_, exec);
  } else if (!train.load.empty()) {
    if (load_run(train.load, parts, exec)) {
      log_info("going on from step {} of {}", state_.iteration, train.load);
      saved_iteration_ = train.load == train.save ? state_.iteration : -1;
    } else {
      log_warn("{} holds no checkpoint: a new run begins", train.load);
    }
  }
  build_data(vocabulary);
  loader_ = std::make_unique<BatchLoader>(datasets_[0],
                                          BatchLoaderOptions{.micro_batch_size = train.micro_batch_size,
                                                             .data_parallel_rank = mesh.rank(Axis::kDp),
                                                             .data_parallel_size = mesh.size(Axis::kDp),
                                                             .consumed_samples = state_.consumed_samples,
                                                             .prefetch = config_.data.num_prefetch,
                                                             .masks = masks_});
  summary_.metrics = metrics_path(train);
  if (!reports()) return;
  if (!train.save.empty()) make_directories(train.save);
  if (!summary_.metrics.empty()) metrics_ = std::make_unique<MetricsLog>(summary_.metrics, state_.iteration);
}

// One rank makes the indices, the others map what it left in the cache.
void Trainer::build_data(const Vocabulary& vocabulary) {
  const TrainConfig& train = config_.train;
  const SplitSizes sizes{train.train_iters * train.batch_size(), train.eval_iters * train.batch_size(), 0};
  Communicator& world = mesh_->world();
  if (world.rank() == 0) datasets_ = build_datasets(config_.data, sizes, vocabulary);
  world.barrier("data indices");
  if (world.rank() != 0) datasets_ = build_datasets(config_.data, sizes, vocabulary);
}

TrainSummary Trainer::run(StopSignal& stop) {
  stop.heed();
  const TrainConfig& train = config_.train;
  summary_.first_step = state_.iteration + 1;
  if (reports())
    line_.emplace(TrainLine::Options{.total_steps = train.train_iters,
                                     .start_step = state_.iteration,
                                     .log_interval = train.log_interval});
  if (train.async_save && has_place_to_save())
    saver_.prepare(run_contents(saved_parts(), save_options()), *exec_);
  if (state_.iteration == 0) evaluate_now(stop);

  while (state_.iteration < train.train_iters && !any_rank(stop.requested())) {
    const auto begin = Clock::now();
    const StepResult result = train_one();
    record(result, seconds_since(begin));
    profile(result);
    const bool is_last = state_.iteration == train.train_iters;
    if (is_last || state_.iteration % train.eval_interval == 0) evaluate_now(stop);
    if (train.save_interval > 0 && state_.iteration % train.save_interval == 0) save_now();
    if (saver_.is_pending() && !any_rank(!saver_.is_written())) finish_save();
  }

  summary_.was_interrupted = state_.iteration < train.train_iters;
  save_now();
  if (saver_.is_pending()) finish_save();
  if (line_) line_->finish();
  if (!recent_losses_.empty()) {
    const double sum = std::accumulate(recent_losses_.begin(), recent_losses_.end(), 0.0);
    summary_.last_loss = sum / static_cast<double>(recent_losses_.size());
  }
  summary_.last_step = state_.iteration;
  return summary_;
}

bool Trainer::any_rank(bool condition) const {
  if (mesh_->world().size() == 1) return condition;
  const int32_t own = condition ? 1 : 0;
  const Tensor flag = exec_->from_host(std::span<const int32_t>(&own, 1), {1});
  mesh_->world().all_reduce(flag, ReduceOp::kMax, "stop");
  return to_vector<double>(flag)[0] != 0;
}

StepResult Trainer::train_one() {
  const StepResult result = step_.run(
      state_.iteration + 1, state_.schedule_samples,
      [this](HostBatch& batch) {
        MG_CHECK(loader_->next(batch), "the training data ended after {} samples", state_.consumed_samples);
      },
      *exec_);
  state_.iteration += 1;
  state_.consumed_samples += config_.train.batch_size();
  if (!result.was_skipped) state_.schedule_samples += config_.train.batch_size();
  return result;
}

double Trainer::tokens_per_step() const {
  return static_cast<double>(config_.train.batch_size() * config_.data.seq_length);
}

void Trainer::record(const StepResult& result, double step_s) {
  const double tokens_per_second = tokens_per_step() / step_s;
  training_s_ += step_s;
  const auto steps_done = static_cast<double>(state_.iteration - summary_.first_step + 1);
  summary_.tokens_per_second = tokens_per_step() * steps_done / training_s_;
  if (state_.iteration == summary_.first_step) summary_.first_loss = result.loss;
  recent_losses_.push_back(result.loss);
  if (recent_losses_.size() > kRecentLosses) recent_losses_.erase(recent_losses_.begin());

  if (!reports()) return;
  line_->update({.step = state_.iteration,
                 .loss = result.loss,
                 .lr = result.lr,
                 .grad_norm = result.grad_norm,
                 .tokens_per_second = tokens_per_second});
  warn_of_dropped(result);
  if (metrics_ == nullptr) return;
  std::vector<Metric> metrics = {
      {"loss", result.loss},
      {"lr", result.lr},
      {"grad_norm", result.grad_norm},
      {"tokens_per_second", tokens_per_second},
      {"consumed_samples", static_cast<double>(state_.consumed_samples)},
      {"weight_decay", result.weight_decay},
      {"step_ms", step_s * 1e3},
      {"data_ms", result.times[Phase::kData]},
      {"forward_ms", result.times[Phase::kForward]},
      {"backward_ms", result.times[Phase::kBackward]},
      {"optimizer_ms", result.times[Phase::kNorm] + result.times[Phase::kOptimizer]},
      {"tflops_megatron", flops_.megatron * tokens_per_second * 1e-12},
      {"tflops_true", flops_.true_work * tokens_per_second * 1e-12},
      {"peak_memory_bytes", static_cast<double>(exec_->ledger().peak_bytes())}};
  if (result.loss_scale) metrics.push_back({"loss_scale", *result.loss_scale});
  if (result.load_balancing_loss) metrics.push_back({"load_balancing_loss", *result.load_balancing_loss});
  if (result.z_loss) metrics.push_back({"z_loss", *result.z_loss});
  if (config_.model.moe.expert_rank_capacity_factor > 0)
    metrics.push_back({"moe_dropped_choices", result.dropped_choices});
  metrics_->write(state_.iteration, metrics);
}

void Trainer::warn_of_dropped(const StepResult& result) {
  if (result.dropped_choices == 0 || has_warned_of_dropped_) return;
  has_warned_of_dropped_ = true;
  const MoeConfig& moe = config_.model.moe;
  const std::vector<bool> layers = moe.expert_layers(config_.model.num_layers);
  const double choices = tokens_per_step() * static_cast<double>(moe.router_topk) *
                         static_cast<double>(std::count(layers.begin(), layers.end(), true));
  log_warn(
      "step {}: {:.0f} of {:.0f} choices of experts found no room at their rank and were dropped; raise "
      "moe_expert_rank_capacity_factor, which is {} (of later steps metrics say it: moe_dropped_choices)",
      state_.iteration, result.dropped_choices, choices, moe.expert_rank_capacity_factor);
}

void Trainer::profile(const StepResult& result) {
  const TrainConfig& train = config_.train;
  if constexpr (kHasCuda) {
    const bool is_cuda = exec_->device().is_cuda();
    if (is_cuda && train.profiles_step(state_.iteration + 1) && !train.profiles_step(state_.iteration))
      start_cuda_profiler();
    if (is_cuda && train.profiles_step(state_.iteration) && !train.profiles_step(state_.iteration + 1))
      stop_cuda_profiler();
  }
  if (!result.device_times) return;
  profiled_host_ += result.times;
  profiled_device_ += *result.device_times;
  ++num_profiled_;
  const bool is_last = !train.profiles_step(state_.iteration + 1) || state_.iteration == train.train_iters;
  if (is_last && line_)
    line_->note(fmt::format("steps {} to {}:\n{}", state_.iteration - num_profiled_ + 1, state_.iteration,
                            phase_table(profiled_host_, profiled_device_, num_profiled_)));
}

void Trainer::evaluate_now(StopSignal& stop) {
  if (config_.train.eval_iters == 0) return;
  // The same samples every time, so that evaluations compare.
  BatchLoader loader(datasets_[1], {.micro_batch_size = config_.train.micro_batch_size,
                                    .data_parallel_rank = mesh_->rank(Axis::kDp),
                                    .data_parallel_size = mesh_->size(Axis::kDp),
                                    .masks = masks_});
  const int64_t num_batches =
      config_.train.eval_iters * config_.train.num_microbatches(mesh_->size(Axis::kDp));
  const std::optional<double> loss = evaluate(
      *model_, *mesh_, loader, num_batches, [&] { return any_rank(stop.requested()); }, *exec_);
  if (!loss) return;
  if (line_) line_->note(fmt::format("step {}: held-out loss {:.4f}", state_.iteration, *loss));
  if (!summary_.first_eval_loss) summary_.first_eval_loss = loss;
  summary_.last_eval_loss = loss;
  if (metrics_ != nullptr) metrics_->write(state_.iteration, {{"eval_loss", *loss}});
}

RunParts Trainer::saved_parts() {
  return {.mesh = mesh_,
          .parameters = &model_->parameters(),
          .routers = model_->routers(),
          .optimizer = &optimizer_,
          .state = &state_,
          .loss_scaler = &loss_scaler_};
}

SaveOptions Trainer::save_options() const {
  return {.config_yaml = config_yaml_,
          .tokenizer = config_.train.tokenizer_model,
          .keep_last = config_.train.keep_last};
}

void Trainer::save_now() {
  if (!has_place_to_save() || saved_iteration_ == state_.iteration || state_.iteration == 0) return;
  if (saver_.is_pending()) finish_save();
  saved_iteration_ = state_.iteration;
  const SaveOptions options = save_options();
  const auto begin = Clock::now();
  if (config_.train.async_save) {
    saver_.start(config_.train.save, run_contents(saved_parts(), options), {.count = options.keep_last},
                 mesh_->world(), *exec_);
    save_start_s_ = seconds_since(begin);
  } else {
    const auto checkpoint = save_run(config_.train.save, saved_parts(), options);
    note_checkpoint(checkpoint, seconds_since(begin));
  }
}

void Trainer::finish_save() {
  const auto begin = Clock::now();
  const auto checkpoint = saver_.finish(mesh_->world());
  note_checkpoint(checkpoint, save_start_s_ + seconds_since(begin));
}

void Trainer::note_checkpoint(const std::filesystem::path& checkpoint, double waited_s) {
  summary_.checkpoint = checkpoint;
  if (metrics_ != nullptr) metrics_->write(state_.iteration, {{"checkpoint_wait_ms", waited_s * 1e3}});
  if (line_) line_->note(fmt::format("step {}: checkpoint {}", saved_iteration_, checkpoint.string()));
}

}  // namespace megalith
