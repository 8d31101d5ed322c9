#pragma once
// defines: StepResult, TrainStep

#include <functional>

#include "megalith/data/host_batch.h"
#include "megalith/models/language_model.h"
#include "megalith/optim/adamw.h"
#include "megalith/optim/schedule.h"
#include "megalith/train/train_config.h"

namespace megalith {

struct StepResult {
  double loss = 0;
  double grad_norm = 0;
  double lr = 0;
  double weight_decay = 0;
  bool is_finite = true;
  bool was_skipped = false;  ///< nan_policy skip: the weights did not change
  double data_ms = 0, forward_ms = 0, backward_ms = 0, optimizer_ms = 0;
};

/// One optimizer step: microbatches forward and backward, clipping, AdamW.
class TrainStep {
 public:
  struct Parts {
    LanguageModel* model = nullptr;
    AdamW* optimizer = nullptr;
    const Schedule* schedule = nullptr;
  };
  TrainStep(const Parts& parts, const TrainConfig& train, double clip_grad)
      : parts_(parts), train_(train), clip_grad_(clip_grad) {}

  /// Throws Error when the data ends.
  using NextBatch = std::function<void(HostBatch&)>;

  /// `step` counts from 1; `schedule_samples`: samples of successful steps before this one. Throws Error for
  /// a loss or a gradient that is NaN or Inf under nan_policy stop; the weights are then as before the step.
  StepResult run(int64_t step, int64_t schedule_samples, const NextBatch& next_batch, Exec& exec);

 private:
  Parts parts_;
  TrainConfig train_;
  double clip_grad_;
  HostBatch host_batch_;
};

}  // namespace megalith
