// When and in which parts data-parallel ranks share what they have changes no bit.
#include <gtest/gtest.h>

#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;
using testing::run_layout;

constexpr const char* kStrategies[] = {"no_shard", "optim", "optim_grads", "optim_grads_params"};

std::string short_name(const std::string& strategy) {
  if (strategy == "no_shard") return "Ddp";
  return strategy == "optim" ? "Zero1" : strategy == "optim_grads" ? "Zero2" : "Zero3";
}

class Overlap : public ::testing::TestWithParam<const char*> {};

TEST_P(Overlap, ChangesNoBit) {
  for (const bool is_gpt2 : {false, true}) {
    LayoutCase layout{.name = "", .num_ranks = 4, .is_gpt2 = is_gpt2};
    layout.parallel.pipeline_model_parallel_size = is_gpt2 ? 2 : 1;
    layout.parallel.data_parallel_sharding_strategy = GetParam();
    const LayoutRun with = run_layout(layout, 4);
    layout.parallel.overlap_grad_reduce = layout.parallel.overlap_param_gather = false;
    layout.parallel.reshard_after_forward = false;
    const LayoutRun without = run_layout(layout, 4);
    EXPECT_EQ(with.losses, without.losses);
    EXPECT_EQ(with.grad_norms, without.grad_norms);
    EXPECT_EQ(with.first_gradients, without.first_gradients);
  }
}

INSTANTIATE_TEST_SUITE_P(All, Overlap, ::testing::ValuesIn(kStrategies),
                         [](const auto& instance) { return short_name(instance.param); });

// Sums over rank threads go rank by rank, whatever travels together.
TEST(DataParallel, BucketsChangeNoBit) {
  MoeConfig moe;
  moe.num_experts = 4;
  moe.layer_freq = "2";
  moe.ffn_hidden_size = 16;
  const std::vector<LayoutCase> layouts = {
      {.name = "", .num_ranks = 4, .parallel = {.pipeline_model_parallel_size = 2}, .is_gpt2 = true},
      {.name = "", .num_ranks = 4, .parallel = {.expert_model_parallel_size = 2}, .moe = moe},
      {.name = "", .num_ranks = 2, .parallel = {.grad_reduce_in_bf16 = true}},
      {.name = "", .num_ranks = 2, .parallel = {.overlap_grad_reduce = false}, .is_gpt2 = true}};
  for (LayoutCase layout : layouts) {
    const LayoutRun expected = run_layout(layout, 2);
    for (const int64_t elements : {5000, 1 << 30}) {
      SCOPED_TRACE(fmt::format("{}, gpt2 {}, {} elements", layout.parallel.str(), layout.is_gpt2, elements));
      layout.parallel.ddp_bucket_size = elements;
      const LayoutRun actual = run_layout(layout, 2);
      EXPECT_EQ(actual.losses, expected.losses);
      EXPECT_EQ(actual.grad_norms, expected.grad_norms);
      EXPECT_EQ(actual.first_gradients, expected.first_gradients);
    }
  }
}

// With one microbatch, every strategy adds the ranks' gradients in the order of the ranks.
TEST(DataParallel, StrategiesGiveTheSameGradientsBitForBit) {
  LayoutCase layout{.name = "", .num_ranks = 8};
  const LayoutRun expected = run_layout(layout, 1);
  for (const char* strategy : {"optim", "optim_grads", "optim_grads_params"}) {
    layout.parallel.data_parallel_sharding_strategy = strategy;
    const LayoutRun actual = run_layout(layout, 1);
    EXPECT_EQ(actual.losses, expected.losses) << strategy;
    EXPECT_EQ(actual.first_gradients, expected.first_gradients) << strategy;
  }
}

// bf16 has 8 bits: a gradient that travels in it is off by 2^-9 of itself in each rank, and once more in the
// sum.
TEST(DataParallel, ReducesInBf16WithinItsRounding) {
  for (const char* strategy : kStrategies) {
    for (const int64_t instances : {1, 2}) {
      LayoutCase layout{.name = "", .num_ranks = 4};
      if (instances == 2 && std::string(strategy) == "no_shard") continue;
      layout.parallel.data_parallel_sharding_strategy = strategy;
      layout.parallel.num_distributed_optimizer_instances = instances;
      const LayoutRun exact = run_layout(layout, 1);
      layout.parallel.grad_reduce_in_bf16 = true;
      const LayoutRun rounded = run_layout(layout, 1);
      const LayoutDeviation deviation = compare_layouts(exact, rounded, 0x1p-6);
      EXPECT_TRUE(deviation.is_ok()) << strategy << ": " << deviation.where << ": " << deviation.worst;
      EXPECT_NE(exact.first_gradients, rounded.first_gradients) << strategy;
    }
  }
}

}  // namespace
}  // namespace megalith
