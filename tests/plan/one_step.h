#pragma once
// defines: run_one_step

#include "megalith/models/gpt/gpt_model.h"
#include "megalith/train/train_step.h"

#include "tests/train/counting_batch.h"

namespace megalith::testing {

/// One training step of a fresh model on counting rows; what it took stands in the ledger of `exec`.
inline void run_one_step(const RunConfig& config, Exec& exec) {
  const Mesh mesh;
  GptModel model(config.model, exec);
  model.parameters().initialize(exec);
  model.parameters().allocate_gradients(exec);
  AdamW optimizer(model.parameters(), config.optim, exec);
  const int64_t batch_size = config.train.batch_size();
  const ParamSchedule schedule(config.optim, {.train_samples = 100, .samples_per_iteration = batch_size});
  TrainStep step({.model = &model, .optimizer = &optimizer, .schedule = &schedule, .mesh = &mesh},
                 config.train, config.optim.clip_grad);
  const auto next_batch = [&](HostBatch& batch) { fill_counting_batch(config, batch); };
  step.run(1, batch_size, next_batch, exec);
}

}  // namespace megalith::testing
