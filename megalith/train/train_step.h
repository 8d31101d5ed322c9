#pragma once
// defines: StepResult, TrainStep

#include <functional>
#include <optional>

#include "megalith/models/language_model.h"
#include "megalith/optim/adamw.h"
#include "megalith/optim/loss_scaler.h"
#include "megalith/optim/param_schedule.h"
#include "megalith/parallel/data/data_parallel.h"
#include "megalith/train/phase_clock.h"
#include "megalith/train/pipeline_pass.h"
#include "megalith/train/step_losses.h"
#include "megalith/train/train_config.h"
#include "megalith/train/update_graphs.h"

namespace megalith {

struct StepResult {
  double loss = 0;
  std::optional<double> load_balancing_loss, z_loss;  ///< of routers (step_losses.h)
  double dropped_choices = 0;                         ///< by moe_expert_rank_capacity_factor (step_losses.h)
  double grad_norm = 0;
  double lr = 0;
  double weight_decay = 0;
  bool is_finite = true;
  bool was_skipped = false;          ///< nan_policy skip, or a dynamic loss scale: the weights did not change
  std::optional<double> loss_scale;  ///< that the step had; nothing where there is none
  /// The host's: on a GPU the work is asynchronous, and they are the work's only with timing_log_level 1.
  PhaseTimes times;
  std::optional<PhaseTimes> device_times;  ///< of a profiled step
};

/// One optimizer step of one rank: microbatches forward and backward in the order of the pipeline's schedule,
/// sums over the ranks, clipping, AdamW. Loss and norm in the result are those of the whole step on every
/// rank.
class TrainStep {
 public:
  struct Parts {
    LanguageModel* model = nullptr;
    AdamW* optimizer = nullptr;
    const ParamSchedule* schedule = nullptr;
    const Mesh* mesh = nullptr;
    std::function<void()> before_update = {};  ///< called before the weights change; may be empty
    LossScaler* loss_scaler = nullptr;         ///< null: none
  };
  /// Collective. While it lives, the model's forward and backward gather and reduce what ranks share.
  TrainStep(const Parts& parts, const TrainConfig& train, double clip_grad);

  using NextBatch = PipelinePass::NextBatch;

  /// `step` counts from 1; `schedule_samples`: samples of successful steps before this one. Throws Error for
  /// a loss or a gradient that is NaN or Inf under nan_policy stop; the weights are then as before the step.
  /// A dynamic loss scale takes the place of the policy: the update is skipped and the scale goes down.
  StepResult run(int64_t step, int64_t schedule_samples, const NextBatch& next_batch, Exec& exec);

 private:
  bool has_dynamic_scale() const;
  /// Whether the weights are to stay as they are.
  bool skips_update(int64_t step, const StepResult& result);

  /// Null where activations stay on the device.
  HostCopies* host_copies(Exec& exec);
  /// Null while steps run eagerly.
  MicrobatchGraphs* graphs(Exec& exec);

  Parts parts_;
  TrainConfig train_;
  double clip_grad_;
  Schedule pipeline_;
  DataParallel data_parallel_;
  int64_t eager_steps_ = 0;
  std::unique_ptr<MicrobatchGraphs> graphs_;
  std::unique_ptr<UpdateGraphs> update_graphs_;
  std::unique_ptr<HostCopies> host_copies_;
};

}  // namespace megalith
