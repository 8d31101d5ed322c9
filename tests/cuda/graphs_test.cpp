// Steps as CUDA graphs against eager ones, bit by bit.

#include <algorithm>
#include <cmath>

#include "tests/cuda/gpu_run.h"
#include "tests/cuda/short_runs.h"

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

struct GraphForm {
  bool is_bf16 = false, has_documents = false;
  std::string recompute;
};

class CudaGraphForms : public ::testing::TestWithParam<GraphForm> {};

TEST_P(CudaGraphForms, GiveTheBitsOfEagerSteps) {
  RunConfig eager = plain_run();
  eager.model.bf16 = GetParam().is_bf16;
  eager.data.reset_attention_mask = eager.data.reset_position_ids = GetParam().has_documents;
  eager.train.recompute_granularity = GetParam().recompute;
  eager.train.global_batch_size = 6;
  const int64_t steps = at_most(4, 6);
  expect_same(GpuRun(with_graphs(eager)).steps(steps), GpuRun(eager).steps(steps));
}

std::vector<GraphForm> graph_forms() {
  std::vector<GraphForm> all;
  for (const bool is_bf16 : {false, true})
    for (const bool has_documents : {false, true})
      for (const char* recompute : {"none", "full"}) all.push_back({is_bf16, has_documents, recompute});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, CudaGraphForms, ::testing::ValuesIn(graph_forms()), [](const auto& instance) {
  return fmt::format("{}{}_{}", instance.param.is_bf16 ? "bf16" : "f32",
                     instance.param.has_documents ? "_documents" : "", instance.param.recompute);
});

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

class CudaScheduledGraphs : public ::testing::TestWithParam<const char*> {};

TEST_P(CudaScheduledGraphs, ClippingAndASkippedStepGiveTheBitsOfEagerSteps) {
  const std::string_view form = GetParam();
  RunConfig config = scheduled_run();
  config.model.bf16 = form != "f32";
  if (form == "sinks") config.model.softmax_type = "learnable";
  if (form == "gradients") config.optim.main_grads_dtype = "bf16";
  config.train.calculate_per_token_loss = form == "tokens";
  config.optim.optimizer_cpu_offload = form == "offload";
  config.optim.optimizer_offload_fraction = 0.5;
  GpuRun eager(config), graphs(with_graphs(config));
  const int64_t poisoned = at_most(4, 9), steps = at_most(5, 20);
  eager.poison_step(poisoned);
  graphs.poison_step(poisoned);
  const GpuRun::Result expected = eager.steps(steps);
  expect_same(graphs.steps(steps), expected);
  EXPECT_TRUE(expected.skipped[static_cast<size_t>(poisoned - 1)]);
  EXPECT_EQ(expected.counted_steps, steps - 1);
  if (is_short_run()) return;
  EXPECT_GT(std::count_if(expected.norms.begin(), expected.norms.end(), [](double n) { return n > 0.69; }), 2)
      << "clipping acts";
  EXPECT_GT(
      std::count_if(expected.norms.begin(), expected.norms.end(), [](double n) { return n > 0 && n < 0.69; }),
      0)
      << "and does not";
}

INSTANTIATE_TEST_SUITE_P(All, CudaScheduledGraphs,
                         ::testing::Values("f32", "bf16", "gradients", "tokens", "offload", "sinks"),
                         [](const auto& instance) { return std::string(instance.param); });

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
  const int64_t steps = at_most(6, 30);
  const GpuRun::Result expected = GpuRun(config).steps(steps);
  expect_same(GpuRun(with_graphs(config)).steps(steps), expected);
  EXPECT_GT(std::count(expected.skipped.begin() + 4, expected.skipped.end(), true), 0) << "a graph skips";
  if (is_short_run()) return;
  EXPECT_GT(std::count(expected.skipped.begin() + 4, expected.skipped.end(), false), 0) << "and does not";
}

struct ExpertForm {
  std::string name;
  MoeConfig moe;
};

std::vector<ExpertForm> expert_forms() {
  MoeConfig softmax;
  softmax.num_experts = 4;
  softmax.layer_freq = "[0, 1]";
  softmax.ffn_hidden_size = 24;
  softmax.shared_expert_intermediate_size = 16;
  softmax.aux_loss_coeff = 0.01;
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
  return {{"softmax", softmax},
          {"sigmoid", sigmoid},
          {"gathered", gathered},
          {"padded", padded},
          {"roomy", roomy}};
}

class CudaGraphsOfExperts : public ::testing::TestWithParam<std::tuple<ExpertForm, const char*, bool>> {};

TEST_P(CudaGraphsOfExperts, GiveTheBitsOfEagerSteps) {
  const auto& [form, recompute, is_bf16] = GetParam();
  RunConfig config = scheduled_run();
  config.model.normalization = "RMSNorm";
  config.model.swiglu = true;
  config.model.add_bias_linear = false;
  config.model.moe = form.moe;
  config.model.bf16 = is_bf16;
  config.train.recompute_granularity = recompute;
  const int64_t steps = at_most(4, 8);
  const GpuRun::Result expected = GpuRun(config).steps(steps);
  expect_same(GpuRun(with_graphs(config)).steps(steps), expected);
  EXPECT_GT(expected.router_losses[0], 0);
}

INSTANTIATE_TEST_SUITE_P(All, CudaGraphsOfExperts,
                         ::testing::Combine(::testing::ValuesIn(expert_forms()),
                                            ::testing::Values("none", "full"), ::testing::Bool()),
                         [](const auto& instance) {
                           return fmt::format("{}_{}_{}", std::get<0>(instance.param).name,
                                              std::get<1>(instance.param),
                                              std::get<2>(instance.param) ? "bf16" : "f32");
                         });

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
  const int64_t steps = at_most(7, 20);
  train("eager", false, steps);
  train("graphs", true, steps);
  train("parts", true, at_most(3, 9));
  train("parts", true, steps);
  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    const auto text = [&](const char* name) {
      return read_text_file(folder / name / fmt::format("iter_{:07}", steps) / file);
    };
    EXPECT_TRUE(text("graphs") == text("eager")) << file;
    EXPECT_TRUE(text("parts") == text("eager")) << file;
  }
}

}  // namespace
}  // namespace megalith
