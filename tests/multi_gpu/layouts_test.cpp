// What layouts of tests/train do not have, since it makes no difference on a CPU.
#include <gtest/gtest.h>

#include "tests/train/expert_forms.h"
#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;

class GpuLayouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(GpuLayouts, TenStepsEqualOneGpu) {
  MG_NEED_RANKS(GetParam().num_ranks);
  testing::expect_equal_to_one_rank(GetParam());
}

std::vector<LayoutCase> cases() {
  const ParallelConfig fused{
      .tensor_model_parallel_size = 2, .sequence_parallel = true, .tp_comm_fused_norm = true};
  ParallelConfig stages = fused;
  stages.pipeline_model_parallel_size = 2;
  return {{.name = "Tp2SpFusedNorm", .num_ranks = 2, .parallel = fused},
          {.name = "Tp2SpFusedNormPp2", .num_ranks = 4, .parallel = stages},
          {.name = "Cp2RingInLine",
           .num_ranks = 2,
           .parallel = {.context_parallel_size = 2, .cp_comm_overlap = false}}};
}

INSTANTIATE_TEST_SUITE_P(All, GpuLayouts, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

// Rows wide enough for the copy engines, and enough of them that who does not wait reads old ones.
TEST(GpuLayouts, PairsOfMicrobatchesHaveTheBitsOfOneAfterAnother) {
  MG_NEED_RANKS(2);
  for (const MoeConfig& moe : {testing::sigmoid_experts(256, 64), testing::softmax_experts(256)}) {
    RunConfig config = testing::layout_config({.name = "", .moe = moe});
    config.model.hidden_size = 512;
    config.model.max_position_embeddings = config.data.seq_length = 512;
    config.model.moe = moe;
    const LayoutRunner runner(config, testing::layout_tokens(),
                              {.num_steps = 4, .device = DeviceKind::kCuda});
    ParallelConfig parallel{.expert_model_parallel_size = 2};
    const LayoutRun expected = runner.run(parallel, 2);
    parallel.overlap_moe_expert_parallel_comm = true;
    const LayoutRun paired = runner.run(parallel, 2);
    EXPECT_EQ(paired.losses, expected.losses);
    EXPECT_EQ(paired.grad_norms, expected.grad_norms);
    EXPECT_EQ(compare_layouts(expected, paired, 1e-5).worst, 0);
  }
}

}  // namespace
}  // namespace megalith
