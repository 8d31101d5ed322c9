// Every layout of GPUs computes what one GPU computes, in f32: losses, norms and gradients of ten steps.
#include <gtest/gtest.h>

#include "megalith/train/layout_run.h"

#include "tests/multi_gpu/gpu_ranks.h"

namespace megalith {
namespace {

struct Layout {
  std::string name;
  int num_ranks = 1;
  ParallelConfig parallel;
};

RunConfig config() {
  RunConfig c;
  c.model.num_layers = 8;
  c.model.hidden_size = 128;
  c.model.num_attention_heads = 8;
  c.model.num_query_groups = 4;
  c.model.ffn_hidden_size = 192;
  c.model.vocab_size = 250;
  c.model.make_vocab_size_divisible_by = 64;
  c.model.max_position_embeddings = 64;
  c.model.init_method_std = 0.1;
  c.model.position_embedding_type = "rope";
  c.model.normalization = "RMSNorm";
  c.model.swiglu = true;
  c.model.add_bias_linear = false;
  c.model.untie_embeddings_and_output_weights = true;
  c.model.hidden_dropout = c.model.attention_dropout = 0;
  c.data.mock_data = true;
  c.data.split = "100,0,0";
  c.data.seq_length = 64;
  c.optim.lr = 5e-4;
  c.optim.lr_decay_style = "constant";
  c.train.train_iters = 100;
  c.train.micro_batch_size = 1;
  c.train.global_batch_size = 8;
  return c;
}

class GpuLayouts : public testing::TestWithParam<Layout> {};

TEST_P(GpuLayouts, TenStepsEqualOneGpu) {
  const Layout& layout = GetParam();
  MG_NEED_GPUS(layout.num_ranks);
  const LayoutRunner runner(config(), {.size = 250, .eod = 249},
                            {.num_steps = 10, .device = DeviceKind::kCuda});
  const LayoutRun expected = runner.run({}, 1);
  EXPECT_LT(expected.losses.back(), expected.losses.front());
  const LayoutRun actual = runner.run(layout.parallel, layout.num_ranks);
  const LayoutDeviation deviation = compare_layouts(expected, actual, layout_tolerance(config()));
  EXPECT_TRUE(deviation.is_ok()) << deviation.where << ": " << deviation.worst << ", allowed "
                                 << deviation.allowed;
  std::printf("%s: worst %.1e of %.1e allowed\n", layout.name.c_str(), deviation.worst, deviation.allowed);
}

std::vector<Layout> layouts() {
  const auto pipeline = [](const char* schedule) {
    return ParallelConfig{.pipeline_model_parallel_size = 2, .pipeline_schedule = schedule};
  };
  const auto context = [](const char* kind) {
    return ParallelConfig{.context_parallel_size = 2, .cp_comm_type = kind};
  };
  return {
      {"Dp2", 2, {}},
      {"Zero1Dp2", 2, {.data_parallel_sharding_strategy = "optim"}},
      {"Zero2Dp2", 2, {.data_parallel_sharding_strategy = "optim_grads"}},
      {"Zero3Dp2", 2, {.data_parallel_sharding_strategy = "optim_grads_params"}},
      {"Tp2", 2, {.tensor_model_parallel_size = 2}},
      {"Tp2Sp", 2, {.tensor_model_parallel_size = 2, .sequence_parallel = true}},
      {"Pp21F1B", 2, pipeline("1f1b")},
      {"Pp2ZbH1", 2, pipeline("zb-h1")},
      {"Pp2Interleaved", 2, pipeline("interleaved")},
      {"Pp2ZbV", 2, pipeline("zb-v")},
      {"Cp2Ring", 2, context("p2p")},
      {"Cp2AllToAll", 2, context("a2a")},
      {"Cp2AllGather", 2, context("all_gather")},
      {"Dp4", 4, {}},
      {"Zero1Dp4", 4, {.data_parallel_sharding_strategy = "optim"}},
      {"Zero3Dp4", 4, {.data_parallel_sharding_strategy = "optim_grads_params"}},
      {"Zero3Hybrid2x2",
       4,
       {.data_parallel_sharding_strategy = "optim_grads_params", .num_distributed_optimizer_instances = 2}},
      {"Tp4Sp", 4, {.tensor_model_parallel_size = 4, .sequence_parallel = true}},
      {"Pp41F1B", 4, {.pipeline_model_parallel_size = 4, .pipeline_schedule = "1f1b"}},
      {"Tp2Pp2", 4, {.tensor_model_parallel_size = 2, .pipeline_model_parallel_size = 2}},
      {"Dp2Tp2", 4, {.tensor_model_parallel_size = 2}},
      {"Dp2Tp2SpZero1",
       4,
       {.tensor_model_parallel_size = 2,
        .sequence_parallel = true,
        .data_parallel_sharding_strategy = "optim"}},
      {"Cp2Pp2", 4, {.pipeline_model_parallel_size = 2, .context_parallel_size = 2, .cp_comm_type = "a2a"}}};
}

INSTANTIATE_TEST_SUITE_P(All, GpuLayouts, testing::ValuesIn(layouts()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace megalith
