// Main gradients in bf16 against those in f32, and on layouts of ranks against one rank.
#include <cmath>

#include <gtest/gtest.h>

#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;
using testing::run_layout;

// What `count` roundings to bf16 in a row move the elements of a gradient by, relative to the largest: each
// by 2^-8 of itself at most, a random walk, of which the furthest of thousands goes twice as far.
double roundings(double count) {
  return 2 * 0x1p-8 * std::sqrt(count);
}

MoeConfig experts() {
  MoeConfig moe;
  moe.num_experts = 8;
  moe.layer_freq = "2";
  moe.ffn_hidden_size = 16;
  moe.shared_expert_intermediate_size = 16;
  moe.aux_loss_coeff = 0.01;
  return moe;
}

// Each of the eight microbatches of a step rounds what has been added so far.
TEST(MainGradsLayouts, TenStepsInBf16FollowF32) {
  for (const char* form : {"llama", "gpt2", "experts"}) {
    SCOPED_TRACE(form);
    LayoutCase layout{.name = "", .is_gpt2 = std::string_view(form) == "gpt2", .is_bf16 = true};
    if (std::string_view(form) == "experts") layout.moe = experts();
    const LayoutRun expected = run_layout(layout, 10);
    layout.main_grads_dtype = "bf16";
    const LayoutRun actual = run_layout(layout, 10);
    const LayoutDeviation deviation = compare_layouts(expected, actual, roundings(8));
    EXPECT_TRUE(deviation.is_ok()) << deviation.where << ": " << deviation.worst << ", allowed "
                                   << deviation.allowed;
    RecordProperty(std::string("share_of_allowed_") + form, fmt::format("{:.3f}", deviation.share()));
    EXPECT_LT(actual.losses.back(), actual.losses.front());
    EXPECT_NE(actual.first_gradients, expected.first_gradients);
    EXPECT_EQ(actual.losses.front(), expected.losses.front()) << "the forward does not know";
  }
}

class MainGradsLayouts : public ::testing::TestWithParam<LayoutCase> {};

// One rank rounds after each of eight microbatches. With sharded gradients ranks round each of theirs, its
// sum over the ranks, and the share that it is added to. Tensor parallelism also rounds the activations at
// other places, in each layer.
TEST_P(MainGradsLayouts, TenStepsEqualOneRank) {
  MG_NEED_RANKS(GetParam().num_ranks);
  LayoutCase layout = GetParam();
  layout.is_bf16 = true;
  layout.main_grads_dtype = "bf16";
  const LayoutRun actual = run_layout(layout, 10);
  const double layers = layout.parallel.tensor_model_parallel_size > 1 ? 8 : 1;
  layout.parallel = {};
  layout.num_ranks = 1;
  const LayoutDeviation deviation = compare_layouts(run_layout(layout, 10), actual, roundings(24 * layers));
  EXPECT_TRUE(deviation.is_ok()) << deviation.where << ": " << deviation.worst << ", allowed "
                                 << deviation.allowed;
  RecordProperty("share_of_allowed", fmt::format("{:.3f}", deviation.share()));
}

std::vector<LayoutCase> cases() {
  std::vector<LayoutCase> all;
  const auto sharded = [](const char* strategy, ParallelConfig parallel = {}) {
    parallel.data_parallel_sharding_strategy = strategy;
    return parallel;
  };
  all.push_back({.name = "Dp2", .num_ranks = 2, .parallel = {}});
  all.push_back({.name = "Zero1Dp2", .num_ranks = 2, .parallel = sharded("optim")});
  all.push_back({.name = "Zero2Dp2", .num_ranks = 2, .parallel = sharded("optim_grads")});
  all.push_back({.name = "Zero3Dp4", .num_ranks = 4, .parallel = sharded("optim_grads_params")});
  all.push_back({.name = "Hsdp2x2",
                 .num_ranks = 4,
                 .parallel = sharded("optim_grads_params", {.num_distributed_optimizer_instances = 2})});
  all.push_back({.name = "Tp2", .num_ranks = 2, .parallel = {.tensor_model_parallel_size = 2}});
  all.push_back({.name = "Tp2SpDp2",
                 .num_ranks = 4,
                 .parallel = sharded("optim", {.tensor_model_parallel_size = 2, .sequence_parallel = true})});
  all.push_back({.name = "TiedPp2",
                 .num_ranks = 2,
                 .parallel = {.pipeline_model_parallel_size = 2, .pipeline_schedule = "zb-h1"},
                 .is_gpt2 = true});
  all.push_back({.name = "Dp2Ep2Zero1",
                 .num_ranks = 4,
                 .parallel = sharded("optim", {.expert_model_parallel_size = 2}),
                 .moe = experts()});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, MainGradsLayouts, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

TEST(MainGradsLayouts, TravelInTheirOwnDtype) {
  MG_NEED_RANKS(2);
  LayoutCase layout{.name = "", .num_ranks = 2, .is_bf16 = true, .main_grads_dtype = "bf16"};
  const LayoutRun expected = run_layout(layout, 3);
  layout.parallel.grad_reduce_in_bf16 = true;
  const LayoutRun actual = run_layout(layout, 3);
  EXPECT_EQ(actual.losses, expected.losses);
  EXPECT_EQ(actual.first_gradients, expected.first_gradients);
}

}  // namespace
}  // namespace megalith
