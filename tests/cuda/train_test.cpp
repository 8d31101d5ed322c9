// Training on the GPU: state on the host, the loss scale and times of phases.

#include "megalith/ops/attention.h"

#include "tests/cuda/gpu_run.h"
#include "tests/cuda/short_runs.h"

namespace megalith {
namespace {

using testing::expect_same;
using testing::GpuRun;
using testing::plain_run;

TEST(CudaOffload, OptimizerStateOnTheHostGivesTheSameBits) {
  for (const char* form : {"f32", "bf16", "gradients"}) {
    RunConfig config = plain_run();
    config.model.bf16 = std::string_view(form) != "f32";
    if (std::string_view(form) == "gradients") config.optim.main_grads_dtype = "bf16";
    const GpuRun::Result expected = GpuRun(config).steps(at_most(2, 4));
    for (const double fraction : {0.4, 1.0}) {
      RunConfig offloaded = config;
      offloaded.optim.optimizer_cpu_offload = true;
      offloaded.optim.optimizer_offload_fraction = fraction;
      expect_same(GpuRun(offloaded).steps(at_most(2, 4)), expected);
    }
  }
}

// Scores' gradients of more than 256 MB: cuDNN's default would add up in any order.
TEST(CudaDeterministic, TwoRunsHaveTheSameBits) {
  RunConfig config = plain_run();
  config.model.bf16 = true;
  config.model.hidden_size = 512;
  config.model.num_attention_heads = 8;
  config.model.num_query_groups = 4;
  config.model.max_position_embeddings = config.data.seq_length = 2048;
  config.train.micro_batch_size = 6;
  config.train.global_batch_size = 12;
  GpuRun first(config), second(config);
  for (GpuRun* run : {&first, &second}) set_deterministic_attention(true, run->exec());
  expect_same(second.steps(at_most(2, 6)), first.steps(at_most(2, 6)));
}

class CudaOffloadedActivations : public ::testing::TestWithParam<std::tuple<bool, const char*>> {};

TEST_P(CudaOffloadedActivations, GiveTheSameBits) {
  RunConfig config = plain_run();
  config.model.num_layers = at_most(3, 8);
  config.model.hidden_size = 128;
  config.model.ffn_hidden_size = 512;
  config.model.max_position_embeddings = config.data.seq_length = at_most(128, 512);
  config.train.micro_batch_size = at_most(1, 4);
  config.train.global_batch_size = at_most(2, 8);
  config.model.bf16 = std::get<0>(GetParam());
  config.train.recompute_granularity = std::get<1>(GetParam());
  const int64_t steps = at_most(1, 3);
  const GpuRun::Result expected = GpuRun(config).steps(steps);
  int64_t peak_bytes = expected.peak_bytes;
  for (const int64_t num_layers : is_short_run() ? std::vector<int64_t>{2} : std::vector<int64_t>{2, 4, 7}) {
    SCOPED_TRACE(num_layers);
    config.train.cpu_offloading_num_layers = num_layers;
    const GpuRun::Result got = GpuRun(config).steps(steps);
    expect_same(got, expected);
    if (is_short_run()) continue;  // so small a model's peak need not be among its activations
    EXPECT_LT(got.peak_bytes, peak_bytes);
    peak_bytes = got.peak_bytes;
  }
}

INSTANTIATE_TEST_SUITE_P(All, CudaOffloadedActivations,
                         ::testing::Combine(::testing::Bool(),
                                            ::testing::Values("none", "selective", "full")),
                         [](const auto& instance) {
                           return fmt::format("{}_{}", std::get<0>(instance.param) ? "bf16" : "f32",
                                              std::get<1>(instance.param));
                         });

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
  for (int64_t number = 1; number <= at_most(6, 40); ++number) {
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
