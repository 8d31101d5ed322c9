// What data-parallel ranks share changes memory and traffic, not the numbers.
#include <gtest/gtest.h>

#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;

std::string short_name(const std::string& strategy) {
  if (strategy == "no_shard") return "Ddp";
  return strategy == "optim" ? "Zero1" : strategy == "optim_grads" ? "Zero2" : "Zero3";
}

class DataParallelLayouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(DataParallelLayouts, TenStepsEqualOneRank) {
  MG_NEED_RANKS(GetParam().num_ranks);
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
  add({.name = "Llama_Dp2", .num_ranks = 2}, {"optim_grads", "optim_grads_params"});
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

}  // namespace
}  // namespace megalith
