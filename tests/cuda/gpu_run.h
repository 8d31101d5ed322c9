#pragma once
// defines: kGpu, GpuRun, plain_run, expect_same

#include <cmath>
#include <optional>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "megalith/models/gpt/gpt_model.h"
#include "megalith/train/train_step.h"

#include "tests/train/trainer_fixture.h"

namespace megalith::testing {

inline const ExecOptions kGpu{.device = {DeviceKind::kCuda, 0}};

// A model and its steps on fixed tokens, which differ from microbatch to microbatch.
class GpuRun {
 public:
  explicit GpuRun(const RunConfig& run, const ExecOptions& device = kGpu)
      : config_(run), exec_(device), model_(run.model, exec_), scaler_(run.optim, run.model.fp16) {
    model_.parameters().initialize(exec_);
    model_.parameters().allocate_gradients(exec_, run.optim.gradient_dtype());
    optimizer_.emplace(model_.parameters(), run.optim, exec_);
    step_.emplace(TrainStep::Parts{.model = &model_,
                                   .optimizer = &*optimizer_,
                                   .schedule = &schedule_,
                                   .mesh = &mesh_,
                                   .loss_scaler = &scaler_},
                  run.train, run.optim.clip_grad);
  }

  StepResult step(int64_t number) {
    return step_->run(
        number, 8 * number,
        [&](HostBatch& batch) {
          fill_batch(batch);
          if (number == poisoned_step_) batch.loss_mask[3] = INFINITY;
        },
        exec_);
  }
  struct Result {
    std::vector<double> losses, norms, weights, router_losses;
    std::vector<bool> skipped;
    int64_t peak_bytes = 0, counted_steps = 0;
  };
  Result steps(int64_t count) {
    Result result;
    for (int64_t number = 1; number <= count; ++number) {
      const StepResult one = step(number);
      result.losses.push_back(one.is_finite ? one.loss : -1);  // a NaN equals nothing
      result.norms.push_back(one.is_finite ? one.grad_norm : -1);
      result.skipped.push_back(one.was_skipped);
      result.router_losses.push_back(one.load_balancing_loss.value_or(0));
      result.router_losses.push_back(one.z_loss.value_or(0));
    }
    result.weights = weights();
    result.peak_bytes = exec_.ledger().peak_bytes();
    result.counted_steps = optimizer_->num_steps();
    return result;
  }
  /// With the biases of routers.
  std::vector<double> weights() {
    std::vector<double> all = to_vector<double>(model_.parameters().flat_data());
    for (const RouterView& router : model_.routers()) {
      if (!router.state->expert_bias.defined()) continue;
      const std::vector<double> bias = to_vector<double>(router.state->expert_bias);
      all.insert(all.end(), bias.begin(), bias.end());
    }
    return all;
  }
  Exec& exec() { return exec_; }
  /// The loss of that step is not a number.
  void poison_step(int64_t number) { poisoned_step_ = number; }

 private:
  void fill_batch(HostBatch& batch) {
    resize_batch(batch, config_.train.micro_batch_size, config_.data.seq_length);
    for (int64_t row = 0; row < config_.train.micro_batch_size; ++row) {
      ++next_row_;
      std::vector<int32_t> text;
      for (int64_t i = 0; i <= config_.data.seq_length; ++i)
        text.push_back(static_cast<int32_t>((7 * i + i * i * next_row_) % 96));
      fill_row(batch, row, text,
               {.eod = 95,
                .reset_position_ids = config_.data.reset_position_ids,
                .reset_attention_mask = config_.data.reset_attention_mask});
    }
    finish_batch(batch);
  }

  RunConfig config_;
  Mesh mesh_;
  Exec exec_;
  GptModel model_;
  LossScaler scaler_;
  std::optional<AdamW> optimizer_;
  ParamSchedule schedule_{config_.optim, {.train_samples = 100, .samples_per_iteration = 4}};
  std::optional<TrainStep> step_;
  int64_t next_row_ = 0, poisoned_step_ = 0;
};

inline RunConfig plain_run() {
  RunConfig config = small_run(10);
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  return config;
}

inline void expect_same(const GpuRun::Result& got, const GpuRun::Result& expected) {
  EXPECT_EQ(got.losses, expected.losses);
  EXPECT_EQ(got.norms, expected.norms);
  EXPECT_EQ(got.skipped, expected.skipped);
  EXPECT_EQ(got.router_losses, expected.router_losses);
  EXPECT_EQ(got.counted_steps, expected.counted_steps);
  EXPECT_TRUE(got.weights == expected.weights) << "the weights differ";
}

}  // namespace megalith::testing
