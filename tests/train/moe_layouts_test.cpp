// Mixtures of experts on layouts of ranks compute what one rank computes.
#include <gtest/gtest.h>

#include "tests/train/expert_forms.h"
#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;

MoeConfig by_sigmoid() {
  return testing::sigmoid_experts(16, 16);
}

MoeConfig by_softmax() {
  return testing::softmax_experts(16);
}

MoeConfig by_whole_step() {
  MoeConfig c = by_softmax();
  c.router_load_balancing_type = "global_aux_loss";
  return c;
}

// Every rank sends an expert at most as many of its own tokens: the same ones on all layouts that do not
// share the tokens of a microbatch.
MoeConfig with_capacity(double factor, const std::string& drop_policy) {
  MoeConfig c = by_softmax();
  c.expert_capacity_factor = factor;
  c.token_drop_policy = drop_policy;
  return c;
}

std::vector<LayoutCase> moe_cases() {
  std::vector<LayoutCase> cases;
  const auto add_both = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel,
                            MoeConfig moe) {
    for (const std::string dispatcher : {"alltoall", "allgather"}) {
      moe.token_dispatcher_type = dispatcher;
      cases.push_back(
          {.name = name + "_" + dispatcher, .num_ranks = num_ranks, .parallel = parallel, .moe = moe});
    }
  };
  const auto ep = [](int64_t size) { return ParallelConfig{.expert_model_parallel_size = size}; };
  const auto tp2_ep2 = [](int64_t etp) {
    return ParallelConfig{.tensor_model_parallel_size = 2,
                          .expert_model_parallel_size = 2,
                          .expert_tensor_parallel_size = etp,
                          .sequence_parallel = true};
  };
  const auto pp2_ep2 = [](const std::string& schedule) {
    return ParallelConfig{
        .pipeline_model_parallel_size = 2, .expert_model_parallel_size = 2, .pipeline_schedule = schedule};
  };
  add_both("Ep2", 2, ep(2), by_sigmoid());
  add_both("Ep4", 4, ep(4), by_sigmoid());
  add_both("Ep4_softmax", 4, ep(4), by_softmax());
  add_both("Dp2Ep1", 2, {}, by_sigmoid());
  add_both("Tp2SpEp2Etp1", 4, tp2_ep2(1), by_sigmoid());
  add_both("Tp2SpEp2Etp2", 4, tp2_ep2(2), by_sigmoid());
  add_both("Tp2SpEp2Etp2_softmax", 4, tp2_ep2(2), by_softmax());
  add_both("Ep2Pp2", 4, pp2_ep2("1f1b"), by_sigmoid());
  add_both("Ep2Pp2ZbV", 4, pp2_ep2("zb-v"), by_sigmoid());
  add_both("Ep2Edp2Zero1", 4, {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim"},
           by_sigmoid());

  add_both("Ep2Edp2Zero3", 4,
           {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim_grads_params"},
           by_sigmoid());

  const auto add = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel,
                       const MoeConfig& moe) {
    cases.push_back({.name = name, .num_ranks = num_ranks, .parallel = parallel, .moe = moe});
  };
  add("Tp2SpEtp2", 2,
      {.tensor_model_parallel_size = 2, .expert_tensor_parallel_size = 2, .sequence_parallel = true},
      by_softmax());
  add("Tp2SpEp2Etp1OnTwo", 2, tp2_ep2(1), by_sigmoid());
  for (const std::string sharding : {"optim", "optim_grads_params"})
    add("Ep2_" + sharding, 2, {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = sharding},
        by_softmax());
  add("Pp2", 2, {.pipeline_model_parallel_size = 2, .pipeline_schedule = "1f1b"}, by_softmax());
  // The shared expert beside the tokens' way.
  const auto beside = [&](const std::string& name, int num_ranks, ParallelConfig parallel) {
    parallel.moe_shared_expert_overlap = true;
    add("SharedBeside_" + name, num_ranks, parallel, by_sigmoid());
  };
  beside("Ep2", 2, ep(2));
  beside("Ep4", 4, ep(4));
  beside("Tp2SpEp2Etp1OnTwo", 2, tp2_ep2(1));
  beside("Tp2SpEp2Etp2", 4, tp2_ep2(2));
  for (const std::string schedule : {"gpipe", "interleaved", "dualpipev"})
    add("Ep2Pp2_" + schedule, 4, pp2_ep2(schedule), by_softmax());
  add("Ep2Pp2_zbh1", 4, pp2_ep2("zb-h1"), by_softmax());
  for (const std::string kind : {"p2p", "a2a", "all_gather"})
    add("Ep2Cp2_" + kind, 2,
        {.context_parallel_size = 2, .expert_model_parallel_size = 2, .cp_comm_type = kind}, by_sigmoid());
  add("Ep4Cp2_softmax", 4, {.context_parallel_size = 2, .expert_model_parallel_size = 4}, by_softmax());
  add("Ep2Etp1Tp2SpCp2Zero1", 8,
      {.tensor_model_parallel_size = 2,
       .context_parallel_size = 2,
       .expert_model_parallel_size = 2,
       .expert_tensor_parallel_size = 1,
       .sequence_parallel = true,
       .data_parallel_sharding_strategy = "optim"},
      by_sigmoid());
  add("Ep2Etp2Tp2SpPp2Interleaved", 8,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .expert_model_parallel_size = 2,
       .sequence_parallel = true,
       .pipeline_schedule = "interleaved"},
      by_sigmoid());
  add("Ep4Etp1Tp2SpCp2Pp2", 16,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .context_parallel_size = 2,
       .expert_model_parallel_size = 4,
       .expert_tensor_parallel_size = 1,
       .sequence_parallel = true,
       .data_parallel_sharding_strategy = "optim"},
      by_sigmoid());
  add("Ep2Edp4HybridZero3", 8,
      {.expert_model_parallel_size = 2,
       .data_parallel_sharding_strategy = "optim_grads_params",
       .num_distributed_optimizer_instances = 2},
      by_softmax());
  // Ranks that share each microbatch count as one rank does.
  add("Tp2SpEp2_global", 2,
      {.tensor_model_parallel_size = 2,
       .expert_model_parallel_size = 2,
       .expert_tensor_parallel_size = 1,
       .sequence_parallel = true},
      by_whole_step());
  add("Ep2Cp2_global", 2, {.context_parallel_size = 2, .expert_model_parallel_size = 2}, by_whole_step());
  for (const std::string schedule : {"gpipe", "dualpipev"})
    add("Pp2_global_" + schedule, 2, {.pipeline_model_parallel_size = 2, .pipeline_schedule = schedule},
        by_whole_step());
  for (const std::string policy : {"probs", "position"}) {
    MoeConfig moe = with_capacity(policy == "probs" ? 1.5 : 1, policy);
    add("Ep2_capacity_" + policy, 2, ep(2), moe);
    moe.pad_expert_input_to_capacity = true;
    add("Ep2_padded_" + policy, 2, ep(2), moe);
    add("Ep2Pp2_padded_" + policy, 4, pp2_ep2("1f1b"), moe);
  }
  // Room for all that can come: sizes are fixed, nothing is dropped.
  MoeConfig roomy = by_softmax();
  roomy.expert_rank_capacity_factor = 4;
  add("Ep2_room", 2, ep(2), roomy);
  add("Ep2Zero3_room", 2,
      {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim_grads_params"}, roomy);
  add("Ep4_room", 4, ep(4), roomy);
  add("Tp2SpEp2Etp2_room", 4, tp2_ep2(2), roomy);
  roomy.expert_capacity_factor = 1.5;
  add("Ep2_capacity_room", 2, ep(2), roomy);
  return cases;
}

class MoeLayouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(MoeLayouts, TenStepsEqualOneRank) {
  MG_NEED_RANKS(GetParam().num_ranks);
  testing::expect_equal_to_one_rank(GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, MoeLayouts, ::testing::ValuesIn(moe_cases()),
                         [](const auto& instance) { return instance.param.name; });

// Every choice that finds no room is counted once, also where a layer is computed twice or ranks share its
// experts, and the same ones are dropped each time.
TEST(MoeLayouts, DroppedChoicesAreCounted) {
  MG_NEED_RANKS(4);
  LayoutCase layout{
      .name = "", .num_ranks = 2, .parallel = {.expert_model_parallel_size = 2}, .moe = by_softmax()};
  layout.moe.expert_rank_capacity_factor = 1;
  const LayoutRun run = run_layout(layout, 3), again = run_layout(layout, 3);
  for (const double dropped : run.dropped_choices) EXPECT_GT(dropped, 0);
  EXPECT_EQ(again.losses, run.losses);
  EXPECT_EQ(again.dropped_choices, run.dropped_choices);
  layout.recompute = "full";
  EXPECT_EQ(run_layout(layout, 3).dropped_choices, run.dropped_choices);
  layout.moe.expert_rank_capacity_factor = 2;
  EXPECT_EQ(run_layout(layout, 3).dropped_choices, std::vector<double>(3));

  // One layer, since what it drops is another half where ranks share each expert.
  layout.moe = testing::softmax_experts(16, "([0]*7+[1])");
  layout.moe.expert_rank_capacity_factor = 1;
  LayoutCase parts = layout;
  parts.num_ranks = 4;
  parts.parallel = {.tensor_model_parallel_size = 2,
                    .expert_model_parallel_size = 2,
                    .expert_tensor_parallel_size = 2,
                    .sequence_parallel = true};
  const double of_parts = run_layout(parts, 1).dropped_choices[0];
  EXPECT_GT(of_parts, 0);
  EXPECT_EQ(of_parts, run_layout(layout, 1).dropped_choices[0]);
}

// Data-parallel ranks count their microbatches together, as one rank counts a microbatch of both.
TEST(MoeLayouts, GlobalAuxLossCountsTheRanksOfDataParallelism) {
  MG_NEED_RANKS(2);
  const LayoutCase one{.name = "", .moe = by_whole_step(), .micro_batch = 2};
  testing::expect_equal_runs(one, {.name = "", .num_ranks = 2, .moe = by_whole_step()});
  testing::expect_equal_runs(
      one, {.name = "",
            .num_ranks = 2,
            .parallel = {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim"},
            .moe = by_whole_step()});
}

// The shared expert beside the tokens' way: not one bit differs, on ranks that exchange rows.
TEST(MoeLayouts, SharedExpertOverlapHasTheSameBits) {
  MG_NEED_RANKS(4);
  for (const int64_t etp : {1, 2}) {
    LayoutCase layout{.name = "",
                      .num_ranks = 4,
                      .parallel = {.tensor_model_parallel_size = 2,
                                   .expert_model_parallel_size = 2,
                                   .expert_tensor_parallel_size = etp,
                                   .sequence_parallel = true},
                      .moe = by_sigmoid()};
    const LayoutRun expected = testing::run_layout(layout, 3);
    layout.parallel.moe_shared_expert_overlap = true;
    EXPECT_EQ(compare_layouts(expected, testing::run_layout(layout, 3), 1e-5).worst, 0);
  }
  const LayoutCase none{.name = "", .parallel = {.moe_shared_expert_overlap = true}, .moe = by_softmax()};
  EXPECT_THROW(testing::run_layout(none, 1), UsageError);
}

}  // namespace
}  // namespace megalith
