#include "megalith/plan/rank_memory.h"

#include <gtest/gtest.h>

#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/parallel/stage_layout.h"

#include "tests/plan/one_step.h"

namespace megalith {
namespace {

RunConfig small_run(bool is_llama) {
  RunConfig config;
  config.model.num_layers = 6;
  config.model.hidden_size = 128;
  config.model.ffn_hidden_size = 384;
  config.model.num_attention_heads = 4;
  config.model.vocab_size = 500;
  config.model.make_vocab_size_divisible_by = 4;
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  config.model.max_position_embeddings = config.data.seq_length = 128;
  config.train.train_iters = 10;
  config.train.micro_batch_size = config.train.global_batch_size = 8;
  if (is_llama) {
    config.model.swiglu = true;
    config.model.normalization = "RMSNorm";
    config.model.position_embedding_type = "rope";
    config.model.add_bias_linear = false;
  }
  return config;
}

PipelinePlan pipeline_of(const RunConfig& config, int64_t num_microbatches) {
  PipelinePlan plan{.schedule = make_schedule(schedule_options(config.parallel, num_microbatches))};
  plan.stages = split_layers(
      {.num_layers = config.model.num_layers, .num_stages = plan.schedule.num_stages(), .layout = {}});
  plan.peak_in_flight = std::vector<int>(static_cast<size_t>(plan.schedule.num_ranks), 1);
  return plan;
}

int64_t seen_bytes(const RunConfig& config) {
  Exec exec({.num_threads = 2});
  testing::run_one_step(config, exec);
  return exec.ledger().peak_bytes() - exec.scratch().high_water_bytes();
}

// What the plan says against what the ledger saw: the plan leaves out padding, scratch of the kernels,
// temporaries of the backward and size classes.
TEST(RankMemory, IsCloseToWhatARunTakes) {
  for (const char* granularity : {"none", "selective", "full"}) {
    for (const bool is_llama : {true, false}) {
      for (const int64_t num_on_host : {0, 3}) {
        RunConfig config = small_run(is_llama);
        config.train.recompute_granularity = granularity;
        config.train.cpu_offloading_num_layers = num_on_host;
        const auto planned =
            static_cast<double>(rank_memory(config, MeshShape{}, pipeline_of(config, 1), 0).total());
        const auto seen = static_cast<double>(seen_bytes(config));
        EXPECT_NEAR(planned / seen, 1, 0.15)
            << granularity << (is_llama ? " llama" : " gpt2") << ", " << num_on_host
            << " layers on the host: planned " << planned << ", seen " << seen;
      }
    }
  }
}

// Rows to and from the experts, what they expand to and what the second product reads, in bf16: for as many
// rows as there is room for, which is never more than can come.
TEST(RankMemory, CountsTheRoomForRowsOfExperts) {
  RunConfig config = small_run(true);
  config.model.bf16 = true;
  config.model.moe.num_experts = 8;
  config.model.moe.router_topk = 2;
  config.model.moe.ffn_hidden_size = 64;
  const auto bytes = [&](int ep, double factor) {
    config.model.moe.expert_rank_capacity_factor = factor;
    return layer_bytes(config, {.ep = ep}, true);
  };
  const int64_t of_row = 2 * (2 * 128 + 3 * 64);
  EXPECT_EQ(bytes(4, 1.5), bytes(4, 0) + of_row);     // 3 rows of a token, not 2
  EXPECT_EQ(bytes(2, 10), bytes(2, 0) + 2 * of_row);  // all of both ranks
  EXPECT_EQ(bytes(8, 10), bytes(8, 0) + 6 * of_row);  // of one expert
  EXPECT_EQ(bytes(1, 1.5), bytes(1, 0));
}

TEST(RankParameters, StagesHoldTheModelOnce) {
  for (const bool is_llama : {true, false}) {
    RunConfig config = small_run(is_llama);
    config.model.untie_embeddings_and_output_weights = true;
    config.model.softmax_type = "learnable";
    config.parallel.pipeline_model_parallel_size = 3;
    const PipelinePlan pipeline = pipeline_of(config, 3);
    int64_t sum = 0;
    for (int rank = 0; rank < 3; ++rank)
      sum += rank_parameters(config.model, {.world = 3, .pp = 3}, pipeline, rank).total();
    EXPECT_EQ(sum, count_gpt_parameters(config.model).total()) << is_llama;
  }
}

TEST(RankParameters, AreThoseOfTheModelThatIsBuilt) {
  RunConfig config = small_run(true);
  config.model.moe.num_experts = 4;
  config.model.moe.ffn_hidden_size = 64;
  config.model.moe.layer_freq = "2";
  Exec exec;
  const GptModel model(config.model, exec);
  const RankParameters held = rank_parameters(config.model, {}, pipeline_of(config, 1), 0);
  const ParameterStore& store = const_cast<GptModel&>(model).parameters();
  EXPECT_EQ(held.total(), store.num_elements());
  EXPECT_EQ(held.experts, 3 * 4 * 3 * 128 * 64);

  // Two of four experts, and half of every matrix that is no expert's.
  const RankParameters shared =
      rank_parameters(config.model, {.world = 2, .tp = 2, .ep = 2}, pipeline_of(config, 1), 0);
  EXPECT_EQ(shared.experts, held.experts / 2);
  const int64_t replicated = 13 * 128 + 3 * 4 * 128;  // norms and routers
  EXPECT_EQ(shared.dense, (held.dense - replicated) / 2 + replicated);
}

TEST(RankMemory, ShardingDividesWhatItSays) {
  RunConfig config = small_run(true);
  config.model.bf16 = true;
  const PipelinePlan pipeline = pipeline_of(config, 1);
  const MeshShape shape{.world = 4, .dp = 4, .edp = 4};
  const auto with = [&](const char* strategy) {
    config.parallel.data_parallel_sharding_strategy = strategy;
    return rank_memory(config, shape, pipeline, 0);
  };
  const RankMemory none = with("no_shard"), optim = with("optim"), grads = with("optim_grads"),
                   all = with("optim_grads_params");
  EXPECT_EQ(none.optimizer, 4 * optim.optimizer);
  EXPECT_EQ(none.gradients, optim.gradients);
  EXPECT_LT(grads.gradients, none.gradients);
  EXPECT_EQ(grads.parameters, none.parameters);
  EXPECT_LT(all.parameters, none.parameters);
  EXPECT_EQ(all.activations, none.activations);
  config.optim.main_grads_dtype = "bf16";
  EXPECT_EQ(2 * with("no_shard").gradients, none.gradients);
  EXPECT_EQ(2 * with("optim_grads").gradients, grads.gradients);
}

}  // namespace
}  // namespace megalith
