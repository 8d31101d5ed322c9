#pragma once
// defines: TrainSummary, Trainer

#include <filesystem>
#include <memory>
#include <optional>

#include "megalith/base/stop_signal.h"
#include "megalith/checkpoint/async_saver.h"
#include "megalith/data/batch_loader.h"
#include "megalith/data/build_datasets.h"
#include "megalith/models/gpt/gpt_model.h"
#include "megalith/report/metrics_log.h"
#include "megalith/report/train_line.h"
#include "megalith/train/run_state.h"
#include "megalith/train/train_step.h"

namespace megalith {

/// What a run came to.
struct TrainSummary {
  int64_t first_step = 0, last_step = 0;
  double first_loss = 0, last_loss = 0;  ///< training loss: of the first step, mean of the last ten
  std::optional<double> first_eval_loss, last_eval_loss;
  double tokens_per_second = 0;  ///< mean over the steps, evaluations and checkpoints not counted
  std::filesystem::path metrics, checkpoint;
  bool was_interrupted = false;
};

/// A training run from a recipe: data, model, optimizer, schedule, checkpoints, logs.
class Trainer {
 public:
  /// Builds everything and goes on from a checkpoint when the recipe says so. `vocabulary` is the
  /// tokenizer's.
  /// Collective over the mesh's world; every rank has its own.
  Trainer(const RunConfig& config, const Vocabulary& vocabulary, std::string config_yaml, const Mesh& mesh,
          Exec& exec);

  /// Trains to the end, or until a signal comes: then it saves (when the recipe has a place) and returns.
  /// A signal before that ends the process where `stop` is made so.
  TrainSummary run(StopSignal& stop);

 private:
  void build_data(const Vocabulary& vocabulary);
  StepResult train_one();
  /// Leaves off without a loss when a signal comes.
  void evaluate_now(StopSignal& stop);
  RunParts saved_parts();
  SaveOptions save_options() const;
  void save_now();
  /// Publishes the checkpoint that is being written beside the steps.
  void finish_save();
  /// `waited_s`: how long no step ran for it.
  void note_checkpoint(const std::filesystem::path& checkpoint, double waited_s);
  void record(const StepResult& result, double step_s);
  void warn_of_dropped(const StepResult& result);
  /// Adds up the times of profiled steps and prints them behind the last.
  void profile(const StepResult& result);
  double tokens_per_step() const;
  /// One rank writes progress, metrics and notes.
  bool reports() const { return mesh_->world().rank() == 0; }
  /// All ranks must agree on when to stop.
  bool any_rank(bool condition) const;
  bool has_place_to_save() const { return !config_.train.save.empty(); }

  RunConfig config_;
  std::string config_yaml_;
  const Mesh* mesh_;
  Exec* exec_;
  MaskOptions masks_;
  std::unique_ptr<GptModel> model_;
  AdamW optimizer_;
  ParamSchedule schedule_;
  LossScaler loss_scaler_;
  TrainStep step_;
  RunState state_;
  Datasets datasets_;
  std::unique_ptr<BatchLoader> loader_;
  std::unique_ptr<MetricsLog> metrics_;
  std::optional<TrainLine> line_;
  FlopsPerToken flops_;
  TrainSummary summary_;
  std::vector<double> recent_losses_;
  bool has_warned_of_dropped_ = false;
  double training_s_ = 0;
  int64_t saved_iteration_ = -1;
  PhaseTimes profiled_host_, profiled_device_;
  int64_t num_profiled_ = 0;
  AsyncSaver saver_;
  double save_start_s_ = 0;  // of the checkpoint that is being written
};

}  // namespace megalith
