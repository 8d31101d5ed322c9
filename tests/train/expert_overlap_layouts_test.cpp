// With overlap_moe_expert_parallel_comm the forward of a microbatch runs beside the backward of another: no
// number changes.
#include <gtest/gtest.h>

#include "tests/train/expert_forms.h"
#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;
using testing::run_layout;
using testing::sigmoid_experts;
using testing::softmax_experts;

// Dense layers, then experts. With an odd number of these, forward and backward meet in the middle one.
MoeConfig in_last_layers(int num_dense, int num_experts) {
  return softmax_experts(16, fmt::format("([0]*{}+[1]*{})", num_dense, num_experts));
}

LayoutCase without_overlap(LayoutCase layout) {
  layout.parallel.overlap_moe_expert_parallel_comm = false;
  return layout;
}

std::vector<LayoutCase> cases() {
  std::vector<LayoutCase> all;
  const auto add = [&](const std::string& name, int num_ranks, ParallelConfig parallel,
                       const MoeConfig& moe) {
    parallel.overlap_moe_expert_parallel_comm = true;
    all.push_back({.name = name, .num_ranks = num_ranks, .parallel = parallel, .moe = moe});
  };
  const MoeConfig shared = sigmoid_experts(16, 16), even = in_last_layers(2, 6), odd = in_last_layers(1, 7);
  const auto ep2 = [](const std::string& sharding) {
    return ParallelConfig{.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = sharding};
  };
  const auto pp2 = [](const std::string& schedule) {
    return ParallelConfig{
        .pipeline_model_parallel_size = 2, .expert_model_parallel_size = 2, .pipeline_schedule = schedule};
  };
  const auto tp2 = [](int64_t etp) {
    return ParallelConfig{.tensor_model_parallel_size = 2,
                          .expert_model_parallel_size = 2,
                          .expert_tensor_parallel_size = etp,
                          .sequence_parallel = true};
  };
  add("Ep2", 2, ep2("no_shard"), shared);
  add("Ep2_odd", 2, ep2("no_shard"), odd);
  add("Ep2Zero1", 2, ep2("optim"), even);
  add("Ep2Zero3_even", 2, ep2("optim_grads_params"), even);
  add("Ep2Edp2", 4, ep2("no_shard"), shared);
  add("Ep2Edp2Zero1", 4, ep2("optim"), shared);
  add("Ep2Edp2Zero2", 4, ep2("optim_grads"), even);
  add("Ep2Edp2Zero3", 4, ep2("optim_grads_params"), odd);
  ParallelConfig kept = ep2("optim_grads_params");
  kept.reshard_after_forward = false;
  add("Ep2Edp2Zero3Kept", 4, kept, odd);
  add("Ep4", 4, {.expert_model_parallel_size = 4}, even);
  for (const std::string schedule : {"1f1b", "interleaved", "dualpipev"}) {
    add("Ep2Pp2_" + schedule, 4, pp2(schedule), shared);
    ParallelConfig sharded = pp2(schedule);
    sharded.data_parallel_sharding_strategy = schedule == "1f1b" ? "optim" : "optim_grads_params";
    add("Ep2Pp2Sharded_" + schedule, 4, sharded, odd);
  }
  add("Tp2SpEp2Etp1", 4, tp2(1), shared);
  add("Tp2SpEp2Etp1OnTwo", 2, tp2(1), shared);
  add("Tp2SpEp2Etp2", 4, tp2(2), shared);
  ParallelConfig tp2_pp2 = tp2(2);
  tp2_pp2.pipeline_model_parallel_size = 2;
  tp2_pp2.pipeline_schedule = "interleaved";
  add("Tp2SpEp2Pp2Interleaved", 8, tp2_pp2, shared);
  add("Ep2Cp2", 2, {.context_parallel_size = 2, .expert_model_parallel_size = 2}, shared);
  MoeConfig dropping = even;
  dropping.expert_capacity_factor = 1.5;
  add("Ep2_capacity", 2, ep2("no_shard"), dropping);
  return all;
}

class ExpertOverlapLayouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(ExpertOverlapLayouts, TenStepsEqualOneRankAndHaveTheBitsOfNoOverlap) {
  MG_NEED_RANKS(GetParam().num_ranks);
  const LayoutCase& layout = GetParam();
  const LayoutRun with = testing::expect_equal_to_one_rank(layout);
  const LayoutRun without = run_layout(without_overlap(layout), 10);
  EXPECT_EQ(with.losses, without.losses);
  EXPECT_EQ(with.grad_norms, without.grad_norms);
  EXPECT_EQ(with.first_gradients, without.first_gradients);
}

INSTANTIATE_TEST_SUITE_P(All, ExpertOverlapLayouts, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

// Dropout is another on each layout of ranks, but the same with and without overlap.
TEST(ExpertOverlapLayouts, DropoutSelectiveRecomputeAndTokenCountsHaveTheSameBits) {
  MG_NEED_RANKS(2);
  LayoutCase layout{.name = "",
                    .num_ranks = 2,
                    .parallel = {.expert_model_parallel_size = 2, .overlap_moe_expert_parallel_comm = true},
                    .has_dropout = true,
                    .recompute = "selective",
                    .is_per_token = true,
                    .moe = sigmoid_experts(16, 16)};
  const LayoutRun with = run_layout(layout, 3), without = run_layout(without_overlap(layout), 3);
  EXPECT_EQ(with.losses, without.losses);
  EXPECT_EQ(with.grad_norms, without.grad_norms);
  EXPECT_EQ(with.first_gradients, without.first_gradients);
}

// An embedding that is the head's weight as well gets its gradients from both ends of the model: in their
// order without overlap where all microbatches pass one chunk. With both ends of DualPipeV on a rank the
// sums change places.
TEST(ExpertOverlapLayouts, TiedEmbeddings) {
  MG_NEED_RANKS(4);
  LayoutCase layout{.name = "",
                    .num_ranks = 2,
                    .parallel = {.expert_model_parallel_size = 2, .overlap_moe_expert_parallel_comm = true},
                    .is_gpt2 = true,
                    .moe = in_last_layers(1, 7)};
  const LayoutRun with = testing::expect_equal_to_one_rank(layout);
  const LayoutRun without = run_layout(without_overlap(layout), 10);
  EXPECT_EQ(with.losses, without.losses);
  EXPECT_EQ(with.first_gradients, without.first_gradients);
  layout.num_ranks = 4;
  layout.parallel.pipeline_model_parallel_size = 2;
  layout.parallel.pipeline_schedule = "dualpipev";
  testing::expect_equal_to_one_rank(layout);
}

}  // namespace
}  // namespace megalith
