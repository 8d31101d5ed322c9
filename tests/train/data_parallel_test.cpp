// What data-parallel ranks share changes memory and traffic, not the numbers.
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

class DataParallelLayouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(DataParallelLayouts, TenStepsEqualOneRank) {
  testing::expect_equal_to_one_rank(GetParam());
}

std::vector<LayoutCase> cases() {
  std::vector<LayoutCase> all;
  const auto add = [&](LayoutCase layout, std::initializer_list<const char*> strategies) {
    const std::string name = layout.name;
    for (const char* strategy : strategies) {
      layout.name = name + short_name(strategy);
      layout.parallel.data_parallel_sharding_strategy = strategy;
      all.push_back(layout);
    }
  };
  for (const bool is_gpt2 : {false, true}) {
    const auto dense = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel) {
      add({.name = (is_gpt2 ? "Gpt2_" : "Llama_") + name,
           .num_ranks = num_ranks,
           .parallel = parallel,
           .is_gpt2 = is_gpt2},
          {"optim_grads", "optim_grads_params"});
    };
    dense("Dp4", 4, {});
    dense("Hsdp2x2", 4, {.num_distributed_optimizer_instances = 2});
    dense("Tp2SpDp2", 4, {.tensor_model_parallel_size = 2, .sequence_parallel = true});
    dense("Pp2Dp2", 4, {.pipeline_model_parallel_size = 2});
  }
  const auto tied = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel,
                        std::initializer_list<const char*> strategies) {
    add({.name = "Gpt2_" + name, .num_ranks = num_ranks, .parallel = parallel, .is_gpt2 = true}, strategies);
  };
  tied("Dp8OneMicrobatch", 8, {}, {"optim_grads", "optim_grads_params"});
  tied("Dp2Kept", 2, {.reshard_after_forward = false}, {"optim_grads_params"});
  tied("Cp2Dp2", 4, {.context_parallel_size = 2}, {"optim_grads_params"});
  tied("Hsdp1x4", 4, {.num_distributed_optimizer_instances = 4}, {"optim", "optim_grads_params"});
  tied("Hsdp2x2", 4, {.num_distributed_optimizer_instances = 2}, {"optim"});
  tied("Hsdp2x2Tp2", 8, {.tensor_model_parallel_size = 2, .num_distributed_optimizer_instances = 2},
       {"optim", "optim_grads_params"});
  tied("Pp2Dp2", 4, {.pipeline_model_parallel_size = 2}, {"no_shard", "optim"});
  for (const char* schedule : {"gpipe", "interleaved", "zb-h1", "zb-v", "dualpipev"})
    tied(std::string("Pp2Dp2_") + schedule, 4,
         {.pipeline_model_parallel_size = 2, .pipeline_schedule = schedule},
         {"optim", "optim_grads", "optim_grads_params"});
  for (const char* granularity : {"selective", "full"})
    add({.name = std::string("Llama_Dp2_") + granularity, .num_ranks = 2, .recompute = granularity},
        {"no_shard", "optim_grads_params"});
  const auto per_token = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel) {
    all.push_back(
        {.name = "PerToken_" + name, .num_ranks = num_ranks, .parallel = parallel, .is_per_token = true});
  };
  per_token("Dp4", 4, {});
  per_token("Cp2Dp2", 4, {.context_parallel_size = 2});
  per_token("Tp2Pp2", 4, {.tensor_model_parallel_size = 2, .pipeline_model_parallel_size = 2});
  MoeConfig moe;
  moe.num_experts = 8;
  moe.layer_freq = "2";
  moe.ffn_hidden_size = 16;
  moe.aux_loss_coeff = 0.01;
  moe.router_load_balancing_type = "seq_aux_loss";
  const auto experts = [&](const std::string& name, const ParallelConfig& parallel) {
    add({.name = "Moe_" + name, .num_ranks = 4, .parallel = parallel, .moe = moe},
        {"optim", "optim_grads", "optim_grads_params"});
  };
  experts("Dp4", {});
  experts("Ep2Edp2", {.expert_model_parallel_size = 2});
  experts("Ep4", {.expert_model_parallel_size = 4});
  experts("Tp2Etp1Edp4",
          {.tensor_model_parallel_size = 2, .expert_tensor_parallel_size = 1, .sequence_parallel = true});
  experts("Hsdp2x2", {.num_distributed_optimizer_instances = 2});
  return all;
}

INSTANTIATE_TEST_SUITE_P(All, DataParallelLayouts, ::testing::ValuesIn(cases()), [](const auto& instance) {
  std::string name = instance.param.name;
  std::erase(name, '-');
  return name;
});

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
