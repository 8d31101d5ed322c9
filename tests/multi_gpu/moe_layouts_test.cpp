// Mixtures of experts on layouts of GPUs compute what one GPU computes, in f32: losses, norms and gradients
// of ten steps. The seed and widths leave room between the scores of experts, as in tests/train.
#include <gtest/gtest.h>

#include "tests/multi_gpu/gpu_ranks.h"
#include "tests/multi_gpu/layout_case.h"
#include "tests/train/expert_forms.h"

namespace megalith {
namespace {

struct Layout {
  std::string name;
  int num_ranks = 1;
  ParallelConfig parallel;
  MoeConfig moe;
};

MoeConfig by_sigmoid() {
  return testing::sigmoid_experts(48, 64);
}

MoeConfig by_softmax() {
  return testing::softmax_experts(48);
}

RunConfig config_of(const MoeConfig& moe) {
  RunConfig c = layout_config();
  c.model.hidden_size = 64;
  c.model.ffn_hidden_size = 96;
  c.model.max_position_embeddings = c.data.seq_length = 32;
  c.model.moe = moe;
  return c;
}

class GpuMoeLayouts : public ::testing::TestWithParam<Layout> {};

TEST_P(GpuMoeLayouts, TenStepsEqualOneGpu) {
  const Layout& layout = GetParam();
  MG_NEED_GPUS(layout.num_ranks);
  expect_equal_to_one_gpu(config_of(layout.moe), layout.name, layout.num_ranks, layout.parallel);
}

std::vector<Layout> layouts() {
  std::vector<Layout> all;
  const auto add_both = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel,
                            MoeConfig moe) {
    for (const std::string dispatcher : {"alltoall", "allgather"}) {
      moe.token_dispatcher_type = dispatcher;
      all.push_back(
          {.name = name + "_" + dispatcher, .num_ranks = num_ranks, .parallel = parallel, .moe = moe});
    }
  };
  const auto ep = [](int64_t size) { return ParallelConfig{.expert_model_parallel_size = size}; };
  add_both("Ep2", 2, ep(2), by_sigmoid());
  add_both("Ep2_softmax", 2, ep(2), by_softmax());
  add_both("Tp2SpEtp2", 2,
           {.tensor_model_parallel_size = 2, .expert_tensor_parallel_size = 2, .sequence_parallel = true},
           by_softmax());
  add_both("Tp2SpEp2Etp1", 2,
           {.tensor_model_parallel_size = 2,
            .expert_model_parallel_size = 2,
            .expert_tensor_parallel_size = 1,
            .sequence_parallel = true},
           by_sigmoid());
  add_both("Dp2Ep1", 2, {}, by_sigmoid());
  add_both("Ep4", 4, ep(4), by_sigmoid());
  add_both("Ep2Edp2", 4, ep(2), by_softmax());
  add_both("Ep2Edp2Zero3", 4,
           {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim_grads_params"},
           by_sigmoid());
  const auto add = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel,
                       const MoeConfig& moe) {
    all.push_back({.name = name, .num_ranks = num_ranks, .parallel = parallel, .moe = moe});
  };
  // The shared expert beside the tokens' way.
  const auto overlapped = [](ParallelConfig parallel) {
    parallel.moe_shared_expert_overlap = true;
    return parallel;
  };
  add("Ep2Overlap", 2, overlapped(ep(2)), by_sigmoid());
  add("Ep4Overlap", 4, overlapped(ep(4)), by_sigmoid());
  add("Tp2SpEtp2Overlap", 2,
      overlapped(
          {.tensor_model_parallel_size = 2, .expert_tensor_parallel_size = 2, .sequence_parallel = true}),
      by_sigmoid());
  add("Tp2SpEp2Etp1Overlap", 2,
      overlapped({.tensor_model_parallel_size = 2,
                  .expert_model_parallel_size = 2,
                  .expert_tensor_parallel_size = 1,
                  .sequence_parallel = true}),
      by_sigmoid());
  // Tokens travel beside the other microbatch.
  const auto paired = [](ParallelConfig parallel) {
    parallel.overlap_moe_expert_parallel_comm = true;
    return parallel;
  };
  for (const std::string sharding : {"no_shard", "optim", "optim_grads_params"})
    add("Ep2Paired_" + sharding, 2,
        paired({.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = sharding}), by_sigmoid());
  add("Ep2Cp2Paired", 2, paired({.context_parallel_size = 2, .expert_model_parallel_size = 2}), by_sigmoid());
  add("Tp2SpEp2Etp1Paired", 2,
      paired({.tensor_model_parallel_size = 2,
              .expert_model_parallel_size = 2,
              .expert_tensor_parallel_size = 1,
              .sequence_parallel = true}),
      by_sigmoid());
  add("Ep2Edp2Paired", 4, paired(ep(2)), by_softmax());
  add("Tp2SpEp2Etp2Paired", 4,
      paired({.tensor_model_parallel_size = 2,
              .expert_model_parallel_size = 2,
              .expert_tensor_parallel_size = 2,
              .sequence_parallel = true}),
      by_softmax());
  for (const std::string schedule : {"1f1b", "interleaved", "dualpipev"})
    add("Ep2Pp2Paired_" + schedule, 4,
        paired({.pipeline_model_parallel_size = 2,
                .expert_model_parallel_size = 2,
                .pipeline_schedule = schedule}),
        by_sigmoid());
  add("Ep2Zero1", 2, {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim"},
      by_softmax());
  add("Ep2Zero3", 2,
      {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim_grads_params"},
      by_sigmoid());
  for (const std::string kind : {"p2p", "a2a"})
    add("Ep2Cp2_" + kind, 2,
        {.context_parallel_size = 2, .expert_model_parallel_size = 2, .cp_comm_type = kind}, by_sigmoid());
  add("Pp2", 2, {.pipeline_model_parallel_size = 2, .pipeline_schedule = "1f1b"}, by_softmax());
  for (const std::string schedule : {"1f1b", "zb-v"})
    add("Ep2Pp2_" + std::string(schedule == "1f1b" ? "1f1b" : "zbv"), 4,
        {.pipeline_model_parallel_size = 2, .expert_model_parallel_size = 2, .pipeline_schedule = schedule},
        by_sigmoid());
  MoeConfig dropping = by_softmax();
  dropping.expert_capacity_factor = 1.5;
  add("Ep2_capacity", 2, ep(2), dropping);
  dropping.pad_expert_input_to_capacity = true;
  add("Ep2_padded", 2, ep(2), dropping);
  // Room for all that can come: sizes are fixed, nothing is dropped.
  MoeConfig roomy = by_sigmoid();
  roomy.expert_rank_capacity_factor = 4;
  add("Ep2_room", 2, ep(2), roomy);
  add("Ep4_room", 4, ep(4), roomy);
  add("Ep2Zero3_room", 2,
      {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim_grads_params"}, roomy);
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, GpuMoeLayouts, ::testing::ValuesIn(layouts()),
                         [](const auto& instance) { return instance.param.name; });

// Rows wide enough for the copy engines, and enough of them that who does not wait reads old ones.
TEST(GpuMoeLayouts, PairsHaveTheBitsOfOneMicrobatchAfterAnother) {
  MG_NEED_GPUS(2);
  for (MoeConfig moe : {by_sigmoid(), by_softmax()}) {
    RunConfig config = layout_config();
    config.model.hidden_size = 512;
    config.model.max_position_embeddings = config.data.seq_length = 512;
    moe.ffn_hidden_size = 256;
    config.model.moe = moe;
    const LayoutRunner runner(config, {.size = 250, .eod = 249},
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
