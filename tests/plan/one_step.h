#pragma once
// defines: run_one_step

#include "megalith/models/gpt/gpt_model.h"
#include "megalith/train/train_step.h"

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
  const auto next_batch = [&](HostBatch& batch) {
    resize_batch(batch, config.train.micro_batch_size, config.data.seq_length);
    for (int64_t row = 0; row < config.train.micro_batch_size; ++row) {
      std::vector<int32_t> text;
      for (int64_t i = 0; i <= config.data.seq_length; ++i)
        text.push_back(static_cast<int32_t>((7 * i + 3 * row) % 96));
      fill_row(batch, row, text, {});
    }
    finish_batch(batch);
  };
  step.run(1, batch_size, next_batch, exec);
}

}  // namespace megalith::testing
