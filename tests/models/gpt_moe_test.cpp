// Mixtures of experts in a GPT: which layers have them, what is counted, what a router keeps.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/models/gpt/layer_pattern.h"

#include "tests/models/gpt_fixture.h"

namespace megalith {
namespace {

using ::testing::HasSubstr;
using testing::ModelRun;
using testing::moe_config;
using ::testing::ThrowsMessage;

TEST(LayerPattern, ReadsMegatronsNotation) {
  using Layers = std::vector<bool>;
  const auto parse = [](const char* text, int64_t layers) { return parse_layer_pattern("k", text, layers); };
  EXPECT_EQ(parse("1", 3), (Layers{true, true, true}));
  EXPECT_EQ(parse("2", 5), (Layers{true, false, true, false, true}));
  EXPECT_EQ(parse("[0,1, 1]", 3), (Layers{false, true, true}));
  EXPECT_EQ(parse("([0]*1+[1]*3)", 4), (Layers{false, true, true, true}));
  EXPECT_EQ(parse("([0]+[1]*2)*2", 6), (Layers{false, true, true, false, true, true}));
}

TEST(LayerPattern, RejectsWhatItCannotRead) {
  for (const char* text : {"", "0", "-1", "x", "[", "[2]", "[0,1", "([0]", "[0]*", "[0]+", "[0] 1",
                           "[0]*9999999", "99999999999", "[0]*1000*1000*1000", "[0]*4"}) {
    EXPECT_THROW(parse_layer_pattern("moe_layer_freq", text, 5), UsageError) << text;
  }
  EXPECT_THAT([] { parse_layer_pattern("moe_layer_freq", "[0]*3", 5); },
              ThrowsMessage<UsageError>(HasSubstr("describes 3 layers; num_layers is 5")));
}

TEST(LayerPattern, RandomTextIsReadOrRejected) {
  constexpr std::string_view kLetters = "[]()*+,01 9x";
  for (uint64_t round = 0; round < 20000; ++round) {
    std::string text;
    const RngKey key{round, 0};
    for (uint32_t i = 0; i < 1 + key.bits(0) % 12; ++i) text += kLetters[key.bits(i + 1) % kLetters.size()];
    try {
      EXPECT_EQ(parse_layer_pattern("k", text, 4).size(), 4u) << text;
    } catch (const UsageError&) {
    }
  }
}

TEST(MoeConfig, RejectsWhatDoesNotFit) {
  const auto broken = [](auto change, const char* message) {
    GptConfig config = moe_config();
    validate(config);
    change(config.moe);
    EXPECT_THAT([&] { validate(config); }, ThrowsMessage<UsageError>(HasSubstr(message)));
  };
  broken([](MoeConfig& c) { c.router_topk = 5; }, "moe_router_topk 5 is above num_experts 4");
  broken([](MoeConfig& c) { c.router_topk = 1; }, "needs moe_router_pre_softmax");
  broken([](MoeConfig& c) { c.router_enable_expert_bias = true; }, "needs moe_router_score_function sigmoid");
  broken([](MoeConfig& c) { c.router_num_groups = 2; }, "go together");
  broken([](MoeConfig& c) { c.router_num_groups = 3, c.router_group_topk = 1; }, "not a multiple");
  broken([](MoeConfig& c) { c.pad_expert_input_to_capacity = true; }, "moe_expert_capacity_factor");
  broken([](MoeConfig& c) { c.expert_rank_capacity_factor = 0.9; }, "0.9 is below 1");
  broken(
      [](MoeConfig& c) {
        c.expert_rank_capacity_factor = 1.5;
        c.token_dispatcher_type = "allgather";
      },
      "moe_token_dispatcher_type alltoall");
  broken(
      [](MoeConfig& c) {
        c.expert_rank_capacity_factor = c.expert_capacity_factor = 1.5;
        c.pad_expert_input_to_capacity = true;
      },
      "choose one");
  GptConfig config = moe_config();
  config.add_bias_linear = true;
  EXPECT_THAT([&] { validate(config); }, ThrowsMessage<UsageError>(HasSubstr("add_bias_linear")));
}

// Mixtral 8x7B, whose paper gives 47 B parameters of which a token uses 13 B (Jiang et al. 2024).
TEST(MoeCount, OfMixtral) {
  GptConfig c;
  c.num_layers = 32;
  c.hidden_size = 4096;
  c.num_attention_heads = 32;
  c.num_query_groups = 8;
  c.ffn_hidden_size = 14336;
  c.vocab_size = 32000;
  c.position_embedding_type = "rope";
  c.normalization = "RMSNorm";
  c.swiglu = true;
  c.add_bias_linear = false;
  c.untie_embeddings_and_output_weights = true;
  c.moe.num_experts = 8;
  const GptParameterCount count = count_gpt_parameters(c);
  EXPECT_EQ(count.total(), 46702792704);  // num_parameters() of transformers' model
  EXPECT_EQ(count.total() - count.active(), int64_t{32} * 6 * 3 * 4096 * 14336);
  // 6 FLOPs for each weight that a token meets in a product; routers are no part of Megatron's formula.
  const int64_t weights = count.active() - count.embedding - count.norms;
  const FlopsPerToken flops = gpt_flops_per_token(c, 1);
  EXPECT_EQ(flops.true_work, 6.0 * static_cast<double>(weights) + 6.0 * 4096 * 2 * 32);
  EXPECT_EQ(flops.megatron, 6.0 * static_cast<double>(weights - count.routers) + 6.0 * 4096 * 32);
}

TEST(Router, CountsOnceWhateverIsComputedAgain) {
  GptConfig config = moe_config();
  config.moe.aux_loss_coeff = 0.1;
  config.moe.z_loss_coeff = 0.1;
  std::vector<double> losses;
  for (const bool full : {false, true}) {
    ModelRun run(config, DType::kF32);
    run.step({.full = full});
    const RouterState& state = *run.model().routers().at(0).state;
    double tokens = 0;
    for (const double count : to_vector<double>(state.tokens_per_expert)) tokens += count;
    EXPECT_EQ(tokens, 2 * ModelRun::kBatch * ModelRun::kSeq * ModelRun::kMicrobatches);
    const std::vector<double> now = to_vector<double>(state.losses);
    EXPECT_GE(now[0], ModelRun::kMicrobatches);  // 1 for even loads, times the scale of each microbatch
    EXPECT_GT(now[1], 0);
    if (full) {
      EXPECT_EQ(now, losses);
    }
    losses = now;
  }
}

TEST(Router, BiasMovesTowardsEvenLoads) {
  GptConfig config = moe_config();
  config.moe.router_score_function = "sigmoid";
  config.moe.router_enable_expert_bias = true;
  config.moe.router_bias_update_rate = 0.125;
  ModelRun run(config, DType::kF32);
  run.step();
  const RouterState& state = *run.model().routers().at(0).state;
  const std::vector<double> tokens = to_vector<double>(state.tokens_per_expert);
  run.model().after_step(run.exec());
  const double mean = 2.0 * ModelRun::kBatch * ModelRun::kSeq * ModelRun::kMicrobatches / 4;
  const std::vector<double> bias = to_vector<double>(state.expert_bias);
  for (size_t e = 0; e < 4; ++e) {
    EXPECT_EQ(bias[e], tokens[e] == mean ? 0 : tokens[e] < mean ? 0.125 : -0.125) << e;
    EXPECT_EQ(to_vector<double>(state.tokens_per_expert)[e], 0);
  }
}

}  // namespace
}  // namespace megalith
