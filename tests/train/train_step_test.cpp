#include <cmath>
#include <limits>

#include "megalith/models/gpt/gpt_model.h"
#include "megalith/ops/elementwise.h"
#include "megalith/train/device_batch.h"

#include "tests/train/counting_batch.h"
#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::small_run;

// One model and its step, with fixed tokens.
struct StepRun {
  explicit StepRun(const RunConfig& run) : config(run), model(run.model, exec) {
    model.parameters().initialize(exec);
    model.parameters().allocate_gradients(exec);
    optimizer.emplace(model.parameters(), run.optim, exec);
  }
  StepResult step() {
    TrainStep one({.model = &model, .optimizer = &*optimizer, .schedule = &schedule, .mesh = &mesh},
                  config.train, config.optim.clip_grad);
    return one.run(
        1, 8, [this](HostBatch& batch) { testing::fill_counting_batch(config, batch); }, exec);
  }

  RunConfig config;
  Mesh mesh;
  Exec exec{{.num_threads = 2}};
  GptModel model;
  std::optional<AdamW> optimizer;
  ParamSchedule schedule{config.optim, {.train_samples = 100, .samples_per_iteration = 4}};
};

RunConfig run_with_policy(const std::string& policy) {
  RunConfig config = small_run(10);
  config.train.nan_policy = policy;
  return config;
}

void poison(StepRun& run) {
  fill(run.model.parameters().find("decoder.final_layernorm.bias").data, std::nan(""), run.exec);
}

TEST(NanPolicy, StopNamesTheStepAndLeavesTheWeights) {
  StepRun run(run_with_policy("stop"));
  poison(run);
  const std::vector<double> before =
      to_vector<double>(run.model.parameters().find("decoder.layers.0.mlp.linear_fc1.weight").data);
  try {
    run.step();
    FAIL() << "a NaN went through";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 1"), std::string::npos) << error.what();
    EXPECT_NE(std::string(error.what()).find("nan"), std::string::npos) << error.what();
  }
  EXPECT_EQ(to_vector<double>(run.model.parameters().find("decoder.layers.0.mlp.linear_fc1.weight").data),
            before);
}

TEST(NanPolicy, SkipLeavesTheWeightsAndTheOptimizer) {
  StepRun run(run_with_policy("skip"));
  poison(run);
  const std::vector<double> before =
      to_vector<double>(run.model.parameters().find("decoder.layers.0.mlp.linear_fc1.weight").data);
  const StepResult result = run.step();
  EXPECT_TRUE(result.was_skipped);
  EXPECT_FALSE(result.is_finite);
  EXPECT_EQ(run.optimizer->num_steps(), 0);
  EXPECT_EQ(to_vector<double>(run.model.parameters().find("decoder.layers.0.mlp.linear_fc1.weight").data),
            before);
}

TEST(NanPolicy, WarnGoesOn) {
  StepRun run(run_with_policy("warn"));
  poison(run);
  EXPECT_FALSE(run.step().is_finite);
  EXPECT_EQ(run.optimizer->num_steps(), 1);
}

// Microbatches of unlike numbers of tokens, one by one, and all their rows at once: where each token counts
// alike, the step is the same.
TEST(PerTokenLoss, DoesNotDependOnHowRowsFallIntoMicrobatches) {
  const auto run_steps = [](int64_t micro_batch_size, bool is_per_token) {
    RunConfig config = small_run(10);
    config.model.hidden_dropout = config.model.attention_dropout = 0;
    config.train.micro_batch_size = micro_batch_size;
    config.train.global_batch_size = 4;
    config.train.calculate_per_token_loss = is_per_token;
    StepRun run(config);
    int64_t next_row = 0;
    TrainStep step(
        {.model = &run.model, .optimizer = &*run.optimizer, .schedule = &run.schedule, .mesh = &run.mesh},
        config.train, config.optim.clip_grad);
    return step.run(
        1, 8,
        [&](HostBatch& batch) {
          resize_batch(batch, micro_batch_size, config.data.seq_length);
          for (int64_t row = 0; row < micro_batch_size; ++row, ++next_row) {
            std::vector<int32_t> text;
            for (int64_t i = 0; i <= config.data.seq_length; ++i)
              text.push_back(
                  static_cast<int32_t>(i % (next_row + 1) == 0 ? 95 : (7 * i + 3 * next_row) % 90));
            fill_row(batch, row, text, {.eod = 95, .eod_mask_loss = true});
          }
          finish_batch(batch);
        },
        run.exec);
  };
  const StepResult whole = run_steps(4, true), apart = run_steps(1, true), means = run_steps(1, false);
  EXPECT_NEAR(apart.loss, whole.loss, 1e-6 * whole.loss);
  EXPECT_NEAR(apart.grad_norm, whole.grad_norm, 1e-5 * whole.grad_norm);
  EXPECT_NEAR(run_steps(4, false).loss, whole.loss, 1e-6 * whole.loss) << "one microbatch: its mean";
  EXPECT_GT(std::abs(means.loss - whole.loss), 1e-4 * whole.loss);
}

TEST(DeviceBatch, KeepsDocumentsApartAndWeighsTheirTokens) {
  HostBatch host;
  resize_batch(host, 2, 6);
  const MaskOptions masks{
      .eod = 9, .eod_mask_loss = true, .reset_position_ids = true, .reset_attention_mask = true};
  fill_row(host, 0, std::vector<int32_t>{1, 2, 9, 3, 4, 5, 6}, masks);
  fill_row(host, 1, std::vector<int32_t>{1, 2, 3, 4, 5, 6, 7}, masks);
  finish_batch(host);
  Exec exec;
  const DeviceBatch batch = make_device_batch(host, LossScaling::kMean, 2, exec);
  EXPECT_EQ(to_vector<int32_t>(batch.context.first_key),
            (std::vector<int32_t>{0, 0, 0, 3, 3, 3, 0, 0, 0, 0, 0, 0}));
  EXPECT_EQ(to_vector<int32_t>(batch.context.positions),
            (std::vector<int32_t>{0, 1, 2, 0, 1, 2, 0, 1, 2, 3, 4, 5}));
  EXPECT_EQ(batch.num_tokens, 11);
  EXPECT_EQ(to_vector<int32_t>(batch.tokens.labels)[2], -1);
  const std::vector<float> weights = to_vector<float>(batch.tokens.loss_weights);
  EXPECT_EQ(weights[2], 0);
  EXPECT_FLOAT_EQ(weights[3], 1.0f / 22);
}

}  // namespace
}  // namespace megalith
