#include "megalith/train/layout_choices.h"

#include <set>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/parallel/mesh_shape.h"
#include "megalith/train/shrink.h"
#include "megalith/train/verify_layouts.h"

namespace megalith {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;

GptConfig dense_model() {
  GptConfig c;
  c.num_layers = 8;
  c.hidden_size = 64;
  c.num_attention_heads = 8;
  c.vocab_size = 100;
  return c;
}

GptConfig expert_model() {
  GptConfig c = dense_model();
  c.add_bias_linear = false;
  c.moe.num_experts = 16;
  c.moe.layer_freq = "([0]*1+[1]*7)";
  return c;
}

std::set<std::string> names_of(const std::vector<ParallelConfig>& layouts, int num_ranks) {
  std::set<std::string> names;
  for (const ParallelConfig& layout : layouts) {
    validate(layout);
    EXPECT_EQ(mesh_shape(layout, num_ranks).world, num_ranks);
    EXPECT_TRUE(names.insert(layout_name(layout, num_ranks)).second)
        << layout_name(layout, num_ranks) << " occurs twice";
  }
  return names;
}

TEST(LayoutChoices, EveryMeshOccurs) {
  std::set<std::array<int, 4>> meshes;
  for (const ParallelConfig& layout : layout_choices({}, dense_model(), 8)) {
    const MeshShape shape = mesh_shape(layout, 8);
    meshes.insert({shape.tp, shape.pp, shape.cp, shape.dp});
  }
  EXPECT_EQ(meshes.size(), 20u);  // ways to share three factors of two between four axes
}

TEST(LayoutChoices, EveryKindOccursOnEveryMeshThatHasIt) {
  const std::set<std::string> names = names_of(layout_choices({}, dense_model(), 4), 4);
  const auto on_mesh = [&](const std::string& mesh, const std::string& kind) {
    return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
      return name.starts_with(mesh) && name.find(kind) != std::string::npos;
    });
  };
  for (const char* schedule : {"gpipe", "interleaved", "zb-h1", "zb-v", "dualpipev"})
    EXPECT_TRUE(on_mesh("pp4", schedule)) << schedule;
  for (const char* kind : {"a2a", "all_gather", "a2a+p2p"}) EXPECT_TRUE(on_mesh("cp4", kind)) << kind;
  for (const char* strategy : {"optim", "optim_grads", "optim_grads_params"})
    EXPECT_TRUE(on_mesh("dp4", strategy)) << strategy;
  EXPECT_TRUE(on_mesh("tp4", "sp"));
  EXPECT_THAT(names, Contains("tp4"));
  EXPECT_THAT(names, Contains("pp4"));
}

TEST(LayoutChoices, ExpertsHaveTheirOwnAxes) {
  const std::vector<ParallelConfig> layouts = layout_choices({}, expert_model(), 8);
  names_of(layouts, 8);
  std::set<std::pair<int, int>> axes;
  for (const ParallelConfig& layout : layouts) {
    const MeshShape shape = mesh_shape(layout, 8);
    axes.insert({shape.ep, shape.etp});
    EXPECT_EQ(layout.sequence_parallel, shape.tp > 1);
    EXPECT_EQ(shape.edp % layout.num_distributed_optimizer_instances, 0);
  }
  for (const auto& pair : {std::pair{1, 1}, {2, 1}, {4, 1}, {8, 1}, {2, 2}, {4, 2}, {2, 4}, {1, 8}})
    EXPECT_THAT(axes, Contains(pair)) << pair.first << " " << pair.second;
}

// Those who look at the first few have seen every axis.
TEST(LayoutChoices, TheFirstOnesDiffer) {
  std::vector<ParallelConfig> first = layout_choices({}, expert_model(), 8);
  first.resize(8);
  std::string names;
  for (const std::string& name : names_of(first, 8)) names += name + "\n";
  for (const char* word : {"tp", "sp", "pp", "cp", "dp", "ep", "optim"}) EXPECT_THAT(names, HasSubstr(word));
}

TEST(LayoutChoices, KeepWhatTheBaseSays) {
  for (const ParallelConfig& layout : layout_choices({.overlap_grad_reduce = false}, dense_model(), 2))
    EXPECT_FALSE(layout.overlap_grad_reduce);
}

TEST(Shrink, KeepsTheKindsOfLayers) {
  RunConfig config;
  config.model = expert_model();
  config.model.num_query_groups = 2;
  config.model.qk_layernorm = true;
  config.model.moe.router_topk = 6;
  config.model.moe.shared_expert_intermediate_size = 2816;
  config.model.moe.router_score_function = "sigmoid";
  config.data.data_path = {"somewhere"};
  for (const int ranks : {2, 3, 8}) {
    RunConfig small = shrink(config, ranks);
    validate(small.model);
    complete(small, 0);
    EXPECT_EQ(small.model.num_layers, 2 * ranks);
    const std::vector<bool> layers = small.model.moe.expert_layers(small.model.num_layers);
    EXPECT_FALSE(layers[0]);
    EXPECT_TRUE(layers[1]);
    EXPECT_LT(small.model.query_groups(), small.model.num_attention_heads);
    EXPECT_EQ(small.model.query_groups() % ranks, 0);
    EXPECT_EQ(small.model.moe.num_experts % ranks, 0);
    EXPECT_GT(small.model.moe.shared_expert_intermediate_size, 0);
    EXPECT_EQ(small.model.moe.router_score_function, "sigmoid");
    EXPECT_TRUE(small.model.qk_layernorm);
    EXPECT_TRUE(small.data.mock_data);
    EXPECT_TRUE(small.data.data_path.empty());
  }
}

TEST(VerifyLayouts, ReportsEveryLayoutOnce) {
  RunConfig config;
  config.model = dense_model();
  config.model.num_attention_heads = 1;  // nothing to share
  config.optim.lr = 1e-3;
  config.train.train_iters = 10;
  config = shrink(config, 2);
  config.model.num_attention_heads = config.model.num_query_groups = 3;
  complete(config, 0);
  int64_t num_reported = 0, expected = 0;
  LayoutVerifier(config, {.size = config.model.vocab_size, .eod = 1}, {.num_ranks = 2, .num_steps = 1})
      .run([&](const LayoutVerdict& verdict, int64_t of) {
        ++num_reported;
        expected = of;
        EXPECT_FALSE(verdict.has_failed) << verdict.name << verdict.reason;
        const bool shares_heads =
            verdict.name.starts_with("tp2") || verdict.name.find("a2a") != std::string::npos;
        EXPECT_NE(verdict.deviation.has_value(), shares_heads) << verdict.name;
        if (verdict.deviation) return;
        EXPECT_THAT(verdict.reason, HasSubstr("cannot be shared by"));
      });
  EXPECT_EQ(num_reported, expected);
  EXPECT_GT(expected, 8);
}

TEST(VerifyLayouts, TriesHybridContextWhereDocumentsArePacked) {
  RunConfig config;
  config.model = expert_model();
  config.model.moe.router_load_balancing_type = "global_aux_loss";
  config.model.moe.aux_loss_coeff = 0.01;
  config.optim.lr = 1e-3;
  config.train.train_iters = 10;
  config = shrink(config, 2);
  config.data.reset_attention_mask = true;
  complete(config, 0);
  int64_t num_hybrids = 0, num_data_parallel = 0;
  LayoutVerifier(config, {.size = config.model.vocab_size, .eod = 1}, {.num_ranks = 2, .num_steps = 1})
      .run([&](const LayoutVerdict& verdict, int64_t) {
        EXPECT_FALSE(verdict.has_failed) << verdict.name << verdict.reason;
        const bool is_data_parallel = verdict.name.starts_with("dp2");
        EXPECT_NE(verdict.deviation.has_value(), is_data_parallel) << verdict.name;
        num_hybrids += verdict.name.find("hybrid") != std::string::npos;
        num_data_parallel += is_data_parallel;
      });
  EXPECT_EQ(num_hybrids, 1);
  EXPECT_GT(num_data_parallel, 0);
}

}  // namespace
}  // namespace megalith
