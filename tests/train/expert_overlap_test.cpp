// With overlap_moe_expert_parallel_comm the layers of two microbatches take turns.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/launch.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/parallel/stage_layout.h"
#include "megalith/train/build_model.h"
#include "megalith/train/pipeline_pass.h"
#include "megalith/train/train_config.h"

namespace megalith {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

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
