// With overlap_moe_expert_parallel_comm the forward of a microbatch runs beside the backward of another: no
// number changes.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/parallel/stage_layout.h"
#include "megalith/train/build_model.h"
#include "megalith/train/pipeline_pass.h"

#include "tests/train/expert_forms.h"
#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using ::testing::HasSubstr;
using testing::LayoutCase;
using testing::run_layout;
using testing::sigmoid_experts;
using testing::softmax_experts;
using ::testing::ThrowsMessage;

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

class ExpertOverlap : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(ExpertOverlap, TenStepsEqualOneRankAndHaveTheBitsOfNoOverlap) {
  const LayoutCase& layout = GetParam();
  const LayoutRun with = testing::expect_equal_to_one_rank(layout);
  const LayoutRun without = run_layout(without_overlap(layout), 10);
  EXPECT_EQ(with.losses, without.losses);
  EXPECT_EQ(with.grad_norms, without.grad_norms);
  EXPECT_EQ(with.first_gradients, without.first_gradients);
}

INSTANTIATE_TEST_SUITE_P(All, ExpertOverlap, ::testing::ValuesIn(cases()),
                         [](const auto& instance) { return instance.param.name; });

// Dropout is another on each layout of ranks, but the same with and without overlap.
TEST(ExpertOverlap, DropoutSelectiveRecomputeAndTokenCountsHaveTheSameBits) {
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
TEST(ExpertOverlap, TiedEmbeddings) {
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

// Writes down which units forwards and backwards begin to use.
class Diary : public UnitHooks {
 public:
  void before_forward(const UnitUse& use, Exec&) override { entries.push_back('F' + name_of(use)); }
  void before_backward(const UnitUse& use, Exec&) override { entries.push_back('B' + name_of(use)); }
  void after_forward(const UnitUse&, Exec&) override {}
  void after_backward(const UnitUse&, Exec&) override {}
  void before_gradients(const UnitUse&, Exec&) override {}
  void gradients_done(const UnitUse&, Exec&) override {}
  std::vector<std::string> entries;

 private:
  static std::string name_of(const UnitUse& use) { return std::to_string(use.index); }
};

// Uses of a model with four layers: 0 embedding, 1 to 4 layers, 5 head.
TEST(ExpertOverlap, LayersOfAPairTakeTurns) {
  const ParallelConfig parallel{.expert_model_parallel_size = 2, .overlap_moe_expert_parallel_comm = true};
  RunConfig config;
  config.model.num_layers = 4;
  config.model.hidden_size = 16;
  config.model.num_attention_heads = 2;
  config.model.vocab_size = 32;
  config.model.max_position_embeddings = 8;
  config.model.untie_embeddings_and_output_weights = true;
  config.model.moe.num_experts = 4;
  config.model.moe.ffn_hidden_size = 8;
  std::vector<std::string> entries;
  run_ranks(2, [&](Communicator& host) {
    Exec exec({.num_threads = 1});
    const RankWorld world(host, exec);
    const Mesh mesh(world.comm(), parallel);
    const auto model = build_model(config.model, mesh, exec);
    model->parameters().initialize(exec);
    model->parameters().allocate_gradients(exec);
    model->parameters().mark_gradients_fresh();
    Diary diary;
    model->parameters().set_hooks(&diary);
    const Schedule schedule = make_schedule(schedule_options(parallel, 2));
    const auto next_batch = [&](HostBatch& batch) {
      resize_batch(batch, 1, 8);
      const std::vector<int32_t> text = {1, 2, 3, 4, 5, 6, 7, 8, host.rank()};
      fill_row(batch, 0, text, {});
      finish_batch(batch);
    };
    PipelinePass pass(*model, mesh, schedule, {.rng = exec.rng()}, next_batch, exec);
    for (const Action& action : schedule.ranks[0]) pass.run(action);
    model->parameters().set_hooks(nullptr);
    if (host.rank() == 0) entries = diary.entries;
  });
  // Before a pair a forward, behind it a backward.
  EXPECT_THAT(entries, ::testing::ElementsAre("F0", "F1", "F2", "F3", "F4", "F5",              //
                                              "B5", "B4", "F0", "F1", "B3", "F2", "B2", "F3",  //
                                              "B1", "F4", "B0", "F5",                          //
                                              "B5", "B4", "B3", "B2", "B1", "B0"));
}

TEST(ExpertOverlap, WhatCannotBeIsRefused) {
  RunConfig good;
  good.model.num_layers = 4;
  good.model.hidden_size = 32;
  good.model.num_attention_heads = 4;
  good.model.vocab_size = 64;
  good.model.moe.num_experts = 4;
  good.data.seq_length = 32;
  good.train.global_batch_size = 8;
  good.parallel.expert_model_parallel_size = 2;
  good.parallel.overlap_moe_expert_parallel_comm = true;
  ASSERT_NO_THROW(check_layout(good, 2));
  ASSERT_NO_THROW(check_layout(good, 4));
  const auto expect_refused = [&](const std::function<void(RunConfig&)>& change, const std::string& reason) {
    RunConfig config = good;
    change(config);
    EXPECT_THAT([&] { check_layout(config, 2); }, ThrowsMessage<UsageError>(HasSubstr(reason)));
  };
  expect_refused([](RunConfig& c) { c.parallel.expert_model_parallel_size = 1; },
                 "needs expert_model_parallel_size > 1");
  expect_refused([](RunConfig& c) { c.model.moe.num_experts = 0; }, "num_experts");
  expect_refused([](RunConfig& c) { c.model.moe.token_dispatcher_type = "allgather"; },
                 "moe_token_dispatcher_type alltoall, not allgather");
  expect_refused([](RunConfig& c) { c.parallel.moe_shared_expert_overlap = true; },
                 "moe_shared_expert_overlap false");
  expect_refused([](RunConfig& c) { c.train.recompute_granularity = "full"; },
                 "recompute_granularity none or selective");
  expect_refused([](RunConfig& c) { c.train.cpu_offloading_num_layers = 1; }, "cpu_offloading_num_layers 0");
  expect_refused([](RunConfig& c) { c.train.cuda_graph_impl = "full_iteration"; }, "cuda_graph_impl");
  expect_refused([](RunConfig& c) { c.train.global_batch_size = 2; },
                 "two or more microbatches in a step; global_batch_size 2");
  for (const std::string schedule : {"gpipe", "zb-h1", "zb-v"}) {
    RunConfig config = good;
    config.parallel.pipeline_model_parallel_size = 2;
    config.parallel.pipeline_schedule = schedule;
    EXPECT_THAT([&] { check_layout(config, 4); },
                ThrowsMessage<UsageError>(HasSubstr("1f1b, interleaved or dualpipev; it is " + schedule)));
  }
}

}  // namespace
}  // namespace megalith
