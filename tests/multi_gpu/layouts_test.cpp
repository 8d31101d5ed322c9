// Every layout of GPUs computes what one GPU computes, in f32: losses, norms and gradients of ten steps.
#include <gtest/gtest.h>

#include "tests/multi_gpu/gpu_ranks.h"
#include "tests/multi_gpu/layout_case.h"

namespace megalith {
namespace {

struct Layout {
  std::string name;
  int num_ranks = 1;
  ParallelConfig parallel;
};

class GpuLayouts : public testing::TestWithParam<Layout> {};

TEST_P(GpuLayouts, TenStepsEqualOneGpu) {
  const Layout& layout = GetParam();
  MG_NEED_GPUS(layout.num_ranks);
  expect_equal_to_one_gpu(layout_config(), layout.name, layout.num_ranks, layout.parallel);
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
      {"Tp2SpWholeProducts",
       2,
       {.tensor_model_parallel_size = 2, .sequence_parallel = true, .tp_comm_overlap = false}},
      {"Tp2SpFusedNorm",
       2,
       {.tensor_model_parallel_size = 2, .sequence_parallel = true, .tp_comm_fused_norm = true}},
      {"Pp21F1B", 2, pipeline("1f1b")},
      {"Pp2ZbH1", 2, pipeline("zb-h1")},
      {"Pp2Interleaved", 2, pipeline("interleaved")},
      {"Pp2ZbV", 2, pipeline("zb-v")},
      {"Cp2Ring", 2, context("p2p")},
      {"Cp2RingInLine", 2, {.context_parallel_size = 2, .cp_comm_overlap = false}},
      {"Cp2AllToAll", 2, context("a2a")},
      {"Cp2AllGather", 2, context("all_gather")},
      {"Dp4", 4, {}},
      {"Zero1Dp4", 4, {.data_parallel_sharding_strategy = "optim"}},
      {"Zero3Dp4", 4, {.data_parallel_sharding_strategy = "optim_grads_params"}},
      {"Zero3Hybrid2x2",
       4,
       {.data_parallel_sharding_strategy = "optim_grads_params", .num_distributed_optimizer_instances = 2}},
      {"Tp4Sp", 4, {.tensor_model_parallel_size = 4, .sequence_parallel = true}},
      {"Tp2SpFusedNormPp2",
       4,
       {.tensor_model_parallel_size = 2,
        .pipeline_model_parallel_size = 2,
        .sequence_parallel = true,
        .tp_comm_fused_norm = true}},
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
