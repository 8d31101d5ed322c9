// Steps as CUDA graphs against eager ones, bit by bit.

#include <algorithm>
#include <cmath>

#include "tests/cuda/gpu_run.h"

namespace megalith {
namespace {

using testing::expect_same;
using testing::GpuRun;
using testing::kGpu;
using testing::plain_run;

RunConfig with_graphs(RunConfig config) {
  config.train.cuda_graph_impl = "full_iteration";
  config.train.cuda_graph_warmup_steps = 2;
  check_layout(config, 1);
  return config;
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
  for (const char* form : {"f32", "bf16", "gradients", "tokens", "offload", "sinks"}) {
    SCOPED_TRACE(form);
    RunConfig config = scheduled_run();
    config.model.bf16 = std::string_view(form) != "f32";
    if (std::string_view(form) == "sinks") config.model.softmax_type = "learnable";
    if (std::string_view(form) == "gradients") config.optim.main_grads_dtype = "bf16";
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
  MoeConfig roomy = softmax;
  roomy.expert_capacity_factor = roomy.expert_rank_capacity_factor = 1;
  for (const MoeConfig& moe : {softmax, sigmoid, gathered, padded, roomy}) {
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
    config.optim.weight_decay_incr_style = "constant";  // what grows depends on the length of the run
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

}  // namespace
}  // namespace megalith
