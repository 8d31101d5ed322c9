// Every layout of ranks computes what one rank computes: losses, gradient norms and gradients of ten steps.
#include <gtest/gtest.h>

#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;

class Layouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(Layouts, TenStepsEqualOneRank) {
  MG_NEED_RANKS(GetParam().num_ranks);
  testing::expect_equal_to_one_rank(GetParam());
}

std::vector<LayoutCase> cases() {
  std::vector<LayoutCase> cases;
  const auto add = [&](const std::string& name, int num_ranks, const ParallelConfig& parallel) {
    cases.push_back({.name = "Llama_" + name, .num_ranks = num_ranks, .parallel = parallel});
    cases.push_back({.name = "Gpt2_" + name, .num_ranks = num_ranks, .parallel = parallel, .is_gpt2 = true});
  };
  const auto dp = [](const std::string& strategy) {
    return ParallelConfig{.data_parallel_sharding_strategy = strategy};
  };
  add("Dp2", 2, {});
  add("Dp4", 4, {});
  add("Zero1Dp2", 2, dp("optim"));
  add("Zero1Dp4", 4, dp("optim"));
  add("Tp2", 2, {.tensor_model_parallel_size = 2});
  add("Tp4", 4, {.tensor_model_parallel_size = 4});
  add("Tp2Sp", 2, {.tensor_model_parallel_size = 2, .sequence_parallel = true});
  add("Tp4Sp", 4, {.tensor_model_parallel_size = 4, .sequence_parallel = true});
  add("Tp2SpWholeProducts", 2,
      {.tensor_model_parallel_size = 2, .sequence_parallel = true, .tp_comm_overlap = false});
  add("Tp2SpPp2ZbH1", 4,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .sequence_parallel = true,
       .pipeline_schedule = "zb-h1"});
  for (const auto& [name, schedule] : std::map<std::string, std::string>{{"GPipe", "gpipe"},
                                                                         {"1F1B", "1f1b"},
                                                                         {"Interleaved", "interleaved"},
                                                                         {"ZbH1", "zb-h1"},
                                                                         {"ZbV", "zb-v"},
                                                                         {"DualPipeV", "dualpipev"}}) {
    add("Pp2" + name, 2, {.pipeline_model_parallel_size = 2, .pipeline_schedule = schedule});
    add("Pp4" + name, 4, {.pipeline_model_parallel_size = 4, .pipeline_schedule = schedule});
  }
  for (const auto& [name, kind] : std::map<std::string, std::string>{
           {"Ring", "p2p"}, {"AllToAll", "a2a"}, {"AllGather", "all_gather"}}) {
    add("Cp2" + name, 2, {.context_parallel_size = 2, .cp_comm_type = kind});
    add("Cp4" + name, 4, {.context_parallel_size = 4, .cp_comm_type = kind});
  }
  add("Cp2Pp2", 4, {.pipeline_model_parallel_size = 2, .context_parallel_size = 2, .cp_comm_type = "a2a"});
  add("Tp2Pp2", 4, {.tensor_model_parallel_size = 2, .pipeline_model_parallel_size = 2});
  add("Tp2SpZero1Dp2", 4,
      {.tensor_model_parallel_size = 2,
       .sequence_parallel = true,
       .data_parallel_sharding_strategy = "optim"});
  add("Tp2Cp2Pp2", 8,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .context_parallel_size = 2,
       .sequence_parallel = true});
  add("Tp2Cp2Pp2Dp2", 16,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .context_parallel_size = 2,
       .sequence_parallel = true,
       .data_parallel_sharding_strategy = "optim"});
  add("Pp2Uneven", 2, {.pipeline_model_parallel_size = 2, .pipeline_model_parallel_layout = "Et*3|t*5L"});
  add("Tp2Pp2Dp2", 8,
      {.tensor_model_parallel_size = 2,
       .pipeline_model_parallel_size = 2,
       .sequence_parallel = true,
       .data_parallel_sharding_strategy = "optim"});
  add("Tp2Pp2Dp2OtherOrder", 8,
      {.tensor_model_parallel_size = 2, .pipeline_model_parallel_size = 2, .rank_order = "tp-cp-ep-pp-dp"});
  cases.push_back({.name = "Gpt2_Dp2Dropout", .num_ranks = 2, .is_gpt2 = true, .has_dropout = true});
  return cases;
}

INSTANTIATE_TEST_SUITE_P(All, Layouts, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace megalith
