// Training on the GPU: graphs, state on the host and the loss scale against plain steps.

#include <algorithm>
#include <cmath>

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

RunConfig plain_run() {
  RunConfig config = small_run(10);
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  return config;
}

RunConfig with_graphs(RunConfig config) {
  config.train.cuda_graph_impl = "full_iteration";
  config.train.cuda_graph_warmup_steps = 2;
  check_layout(config, 1);
  return config;
}

void expect_same(const GpuRun::Result& got, const GpuRun::Result& expected) {
  EXPECT_EQ(got.losses, expected.losses);
  EXPECT_EQ(got.norms, expected.norms);
  EXPECT_EQ(got.skipped, expected.skipped);
  EXPECT_EQ(got.router_losses, expected.router_losses);
  EXPECT_EQ(got.counted_steps, expected.counted_steps);
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
        expect_same(GpuRun(with_graphs(eager)).steps(6), GpuRun(eager).steps(6));
      }
    }
  }
}

// Twenty steps in which everything that changes from step to step changes.
RunConfig scheduled_run() {
  RunConfig config = plain_run();
  config.data.reset_attention_mask = config.data.reset_position_ids = false;  // graphs from the third step on
  config.optim.lr_decay_iters = 60;
  config.optim.min_lr = 1e-4;
  config.optim.weight_decay_incr_style = "linear";
  config.optim.start_weight_decay = 0.01;
  config.optim.end_weight_decay = 0.2;
  config.optim.clip_grad = 0.69;  // norms are on both sides of it
  config.train.nan_policy = "skip";
  return config;
}

TEST(CudaGraphs, ScheduleClippingAndASkippedStepGiveTheBitsOfEagerSteps) {
  for (const char* form : {"f32", "bf16", "tokens", "offload"}) {
    SCOPED_TRACE(form);
    RunConfig config = scheduled_run();
    config.model.bf16 = std::string_view(form) != "f32";
    config.train.calculate_per_token_loss = std::string_view(form) == "tokens";
    config.optim.optimizer_cpu_offload = std::string_view(form) == "offload";
    config.optim.optimizer_offload_fraction = 0.5;
    GpuRun eager(config), graphs(with_graphs(config));
    eager.poison_step(9);
    graphs.poison_step(9);
    const GpuRun::Result expected = eager.steps(20);
    expect_same(graphs.steps(20), expected);
    EXPECT_TRUE(expected.skipped[8]);
    EXPECT_EQ(expected.counted_steps, 19);
    EXPECT_GT(std::count_if(expected.norms.begin(), expected.norms.end(), [](double n) { return n > 0.69; }),
              2)
        << "clipping acts";
    EXPECT_GT(std::count_if(expected.norms.begin(), expected.norms.end(),
                            [](double n) { return n > 0 && n < 0.69; }),
              0)
        << "and does not";
  }
}

TEST(CudaGraphs, StopLeavesTheWeightsAndNamesTheStep) {
  RunConfig config = scheduled_run();
  config.train.nan_policy = "stop";
  GpuRun run(with_graphs(config));
  run.poison_step(7);
  const std::vector<double> before = run.steps(6).weights;
  try {
    run.step(7);
    FAIL() << "a NaN went through";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("step 7"), std::string::npos) << error.what();
  }
  EXPECT_TRUE(run.weights() == before);
}

TEST(CudaGraphs, WarnAppliesANan) {
  RunConfig config = scheduled_run();
  config.train.nan_policy = "warn";
  GpuRun run(with_graphs(config));
  run.poison_step(7);
  EXPECT_EQ(run.steps(7).counted_steps, 7);
  EXPECT_TRUE(std::isnan(run.weights()[0]));
}

TEST(CudaGraphs, DynamicLossScaleGivesTheBitsOfEagerSteps) {
  RunConfig config = scheduled_run();
  config.model.fp16 = true;
  config.optim.hysteresis = 1;
  config.optim.loss_scale_window = 5;
  const GpuRun::Result expected = GpuRun(config).steps(30);
  expect_same(GpuRun(with_graphs(config)).steps(30), expected);
  EXPECT_GT(std::count(expected.skipped.begin() + 4, expected.skipped.end(), true), 0) << "a graph skips";
  EXPECT_GT(std::count(expected.skipped.begin() + 4, expected.skipped.end(), false), 0) << "and does not";
}

TEST(CudaGraphs, ExpertsGiveTheBitsOfEagerSteps) {
  RunConfig config = scheduled_run();
  config.model.normalization = "RMSNorm";
  config.model.swiglu = true;
  config.model.add_bias_linear = false;
  config.model.moe.num_experts = 4;
  config.model.moe.layer_freq = "[0, 1]";
  config.model.moe.ffn_hidden_size = 24;
  config.model.moe.shared_expert_intermediate_size = 16;
  config.model.moe.aux_loss_coeff = 0.01;
  MoeConfig softmax = config.model.moe;
  softmax.router_load_balancing_type = "aux_loss";
  MoeConfig sigmoid = softmax;
  sigmoid.router_score_function = "sigmoid";
  sigmoid.router_enable_expert_bias = true;
  sigmoid.router_load_balancing_type = "seq_aux_loss";
  sigmoid.z_loss_coeff = 0.001;
  MoeConfig gathered = sigmoid;
  gathered.token_dispatcher_type = "allgather";
  MoeConfig padded = softmax;
  padded.expert_capacity_factor = 1;
  padded.pad_expert_input_to_capacity = true;
  for (const MoeConfig& moe : {softmax, sigmoid, gathered, padded}) {
    for (const char* recompute : {"none", "full"}) {
      for (const bool is_bf16 : {false, true}) {
        SCOPED_TRACE(fmt::format("{} {} capacity {} recompute {} bf16 {}", moe.router_score_function,
                                 moe.token_dispatcher_type, moe.expert_capacity_factor, recompute, is_bf16));
        config.model.moe = moe;
        config.model.bf16 = is_bf16;
        config.train.recompute_granularity = recompute;
        const GpuRun::Result expected = GpuRun(config).steps(8);
        expect_same(GpuRun(with_graphs(config)).steps(8), expected);
        EXPECT_GT(expected.router_losses[0], 0);
      }
    }
  }
}

TEST(CudaGraphs, ResumeIsExact) {
  const testing::RunFolder folder;
  const auto train = [&](const char* name, bool has_graphs, int64_t steps) {
    RunConfig config = scheduled_run();
    config.model.bf16 = true;
    config.train.eval_iters = 1;
    config.train.save = config.train.load = folder / name;
    config.train.train_iters = steps;
    if (has_graphs) config = with_graphs(config);
    Exec exec(kGpu);
    StopSignal stop;
    const Mesh mesh;
    Trainer(config, {.size = config.model.vocab_size, .eod = 95}, "model: {}\n", mesh, exec).run(stop);
  };
  train("eager", false, 20);
  train("graphs", true, 20);
  train("parts", true, 9);
  train("parts", true, 20);
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    const auto text = [&](const char* name) { return read_text_file(folder / name / "iter_0000020" / file); };
    EXPECT_TRUE(text("graphs") == text("eager")) << file;
    EXPECT_TRUE(text("parts") == text("eager")) << file;
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
