// Training on the GPU: graphs, state on the host and the loss scale against plain steps.

#include <gtest/gtest.h>

#include "megalith/models/gpt/gpt_model.h"
#include "megalith/train/train_step.h"

#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::small_run;

const ExecOptions kGpu{.device = {DeviceKind::kCuda, 0}};

// A model and its steps on fixed tokens, which differ from microbatch to microbatch.
class GpuRun {
 public:
  explicit GpuRun(const RunConfig& run, const ExecOptions& device = kGpu)
      : config_(run), exec_(device), model_(run.model, exec_), scaler_(run.optim, run.model.fp16) {
    model_.parameters().initialize(exec_);
    model_.parameters().allocate_gradients(exec_);
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
        number, 8 * number, [this](HostBatch& batch) { fill_batch(batch); }, exec_);
  }
  struct Result {
    std::vector<double> losses, norms, weights;
    int64_t peak_bytes = 0;
  };
  Result steps(int64_t count) {
    Result result;
    for (int64_t number = 1; number <= count; ++number) {
      const StepResult one = step(number);
      result.losses.push_back(one.loss);
      result.norms.push_back(one.grad_norm);
    }
    result.weights = to_vector<double>(model_.parameters().flat_data());
    result.peak_bytes = exec_.ledger().peak_bytes();
    return result;
  }

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
  int64_t next_row_ = 0;
};

RunConfig plain_run() {
  RunConfig config = small_run(10);
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  return config;
}

void expect_same(const GpuRun::Result& got, const GpuRun::Result& expected) {
  EXPECT_EQ(got.losses, expected.losses);
  EXPECT_EQ(got.norms, expected.norms);
  EXPECT_TRUE(got.weights == expected.weights) << "the weights differ";
}

TEST(CudaGraphs, GiveTheBitsOfEagerSteps) {
  for (const bool is_bf16 : {false, true}) {
    for (const bool has_documents : {false, true}) {
      for (const char* recompute : {"none", "full"}) {
        SCOPED_TRACE(fmt::format("bf16 {} documents {} recompute {}", is_bf16, has_documents, recompute));
        RunConfig eager = plain_run();
        eager.model.bf16 = is_bf16;
        eager.data.reset_attention_mask = eager.data.reset_position_ids = has_documents;
        eager.train.recompute_granularity = recompute;
        eager.train.global_batch_size = 6;
        RunConfig graphs = eager;
        graphs.train.cuda_graph_impl = "full_iteration";
        graphs.train.cuda_graph_warmup_steps = 2;
        expect_same(GpuRun(graphs).steps(6), GpuRun(eager).steps(6));
      }
    }
  }
}

TEST(CudaOffload, OptimizerStateOnTheHostGivesTheSameBits) {
  for (const bool is_bf16 : {false, true}) {
    RunConfig config = plain_run();
    config.model.bf16 = is_bf16;
    const GpuRun::Result expected = GpuRun(config).steps(4);
    for (const double fraction : {0.4, 1.0}) {
      RunConfig offloaded = config;
      offloaded.optim.optimizer_cpu_offload = true;
      offloaded.optim.optimizer_offload_fraction = fraction;
      expect_same(GpuRun(offloaded).steps(4), expected);
    }
  }
}

TEST(CudaOffload, ActivationsOnTheHostGiveTheSameBits) {
  RunConfig config = plain_run();
  config.model.num_layers = 8;
  config.model.hidden_size = 128;
  config.model.ffn_hidden_size = 512;
  config.model.max_position_embeddings = config.data.seq_length = 512;
  config.train.micro_batch_size = 4;
  config.train.global_batch_size = 8;
  for (const bool is_bf16 : {false, true}) {
    for (const char* recompute : {"none", "selective", "full"}) {
      config.model.bf16 = is_bf16;
      config.train.recompute_granularity = recompute;
      config.train.cpu_offloading_num_layers = 0;
      const GpuRun::Result expected = GpuRun(config).steps(3);
      int64_t peak_bytes = expected.peak_bytes;
      for (const int64_t num_layers : {2, 4, 7}) {
        SCOPED_TRACE(fmt::format("bf16 {} recompute {} layers {}", is_bf16, recompute, num_layers));
        config.train.cpu_offloading_num_layers = num_layers;
        const GpuRun::Result got = GpuRun(config).steps(3);
        expect_same(got, expected);
        EXPECT_LT(got.peak_bytes, peak_bytes);
        peak_bytes = got.peak_bytes;
      }
    }
  }
}

TEST(CudaF16, FollowsF32) {
  RunConfig config = plain_run();
  const GpuRun::Result expected = GpuRun(config).steps(6);
  config.model.fp16 = true;
  config.optim.initial_loss_scale = 65536;
  const GpuRun::Result got = GpuRun(config).steps(6);
  for (size_t i = 0; i < got.losses.size(); ++i)
    EXPECT_NEAR(got.losses[i], expected.losses[i], 0.01 * expected.losses[i]);
}

TEST(CudaF16, OverflowSkipsTheStepAndHalves) {
  RunConfig config = plain_run();
  config.model.fp16 = true;
  config.optim.hysteresis = 1;
  GpuRun run(config);
  double scale = 0;
  int64_t skipped = 0;
  for (int64_t number = 1; number <= 40; ++number) {
    const StepResult result = run.step(number);
    if (scale > 0) {
      EXPECT_EQ(*result.loss_scale, scale);
    }
    scale = result.was_skipped ? *result.loss_scale / 2 : *result.loss_scale;
    EXPECT_EQ(result.was_skipped, !result.is_finite);
    skipped += result.was_skipped ? 1 : 0;
  }
  EXPECT_GT(skipped, 2);
  EXPECT_LT(skipped, 30);
}

TEST(CudaProfile, PhasesHaveTimesOfTheDevice) {
  RunConfig config = plain_run();
  config.train.profile = true;
  config.train.profile_step_start = 2;
  config.train.profile_step_end = 3;
  GpuRun run(config);
  EXPECT_FALSE(run.step(1).device_times.has_value());
  const StepResult result = run.step(2);
  ASSERT_TRUE(result.device_times.has_value());
  for (const Phase phase : {Phase::kForward, Phase::kBackward, Phase::kNorm, Phase::kOptimizer})
    EXPECT_GT((*result.device_times)[phase], 0) << name_of(phase);
}

}  // namespace
}  // namespace megalith
