// Training of experts goes on from a checkpoint on another layout as if nothing had happened, routers' biases
// included; and what a run writes about its routers.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/checkpoint/reader.h"
#include "megalith/checkpoint/router_buffers.h"

#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::RunFolder;
using testing::small_run;
using testing::train_on_ranks;

// f32 sums of up to 96 tokens x 32 columns in another order, over eight steps.
const double kTolerance = 20 * 0x1p-24 * std::sqrt(96.0 * 32);

struct Layout {
  std::string name;
  int num_ranks = 1;
  ParallelConfig parallel;
};

const Layout kSingle{"single", 1, {}};
const Layout kEp2{"ep2", 2, {.expert_model_parallel_size = 2}};
const Layout kEp4{"ep4", 4, {.expert_model_parallel_size = 4}};
const Layout kDp4{"zero1dp4", 4, {.data_parallel_sharding_strategy = "optim"}};
const Layout kEp2Zero{
    "zero1ep2edp2", 4, {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim"}};
const Layout kEp2Fsdp{
    "zero3ep2edp2",
    4,
    {.expert_model_parallel_size = 2, .data_parallel_sharding_strategy = "optim_grads_params"}};
const Layout kEp2Pp2{"ep2pp2", 4, {.pipeline_model_parallel_size = 2, .expert_model_parallel_size = 2}};
const Layout kEp2Tp2{
    "ep2tp2",
    4,
    {.tensor_model_parallel_size = 2, .expert_model_parallel_size = 2, .sequence_parallel = true}};
const Layout kEp4Etp1{"ep4etp1tp2",
                      4,
                      {.tensor_model_parallel_size = 2,
                       .expert_model_parallel_size = 4,
                       .expert_tensor_parallel_size = 1,
                       .sequence_parallel = true}};

RunConfig run_of(const Layout& layout) {
  RunConfig config = small_run(8);
  GptConfig& model = config.model;
  model.num_layers = 4;
  model.swiglu = true;
  model.add_bias_linear = false;
  model.hidden_dropout = model.attention_dropout = 0;
  model.init_method_std = 0.1;
  model.moe.num_experts = 8;
  model.moe.layer_freq = "([0]*1+[1]*3)";
  model.moe.ffn_hidden_size = 16;
  model.moe.shared_expert_intermediate_size = 8;
  model.moe.router_score_function = "sigmoid";
  model.moe.router_enable_expert_bias = true;
  model.moe.router_bias_update_rate = 0x1p-10;  // sums of it are exact
  model.moe.router_load_balancing_type = "seq_aux_loss";
  model.moe.aux_loss_coeff = 0.01;
  model.moe.z_loss_coeff = 0.001;
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = 4;
  config.train.eval_interval = 100;
  config.parallel = layout.parallel;
  return config;
}

// Expert biases of the newest checkpoint, by name.
std::map<std::string, std::vector<float>> biases_in(const std::filesystem::path& root) {
  Exec exec;
  GptModel model(run_of(kSingle).model, exec);
  const std::vector<NamedTensor> buffers = router_buffers(model.routers());
  CheckpointReader(root).read_model(model.parameters(), exec, CheckpointReader::IsPart::kNo, buffers);
  std::map<std::string, std::vector<float>> biases;
  for (const NamedTensor& buffer : buffers) biases[buffer.name] = to_vector<float>(buffer.tensor);
  return biases;
}

struct Pair {
  Layout from, to;
};

class MoeReshard : public ::testing::TestWithParam<Pair> {};

TEST_P(MoeReshard, GoesOnAsIfUninterrupted) {
  const auto& [from, to] = GetParam();
  const RunFolder folder;
  RunConfig uninterrupted = run_of(kSingle);
  uninterrupted.train.save = folder / "whole";
  const TrainSummary whole = train_on_ranks(uninterrupted, 1);

  RunConfig first = run_of(from);
  first.train.train_iters = 4;
  first.train.save = folder / "run";
  train_on_ranks(first, from.num_ranks);
  RunConfig second = run_of(to);
  second.train.load = second.train.save = folder / "run";
  const TrainSummary resumed = train_on_ranks(second, to.num_ranks);

  EXPECT_EQ(resumed.first_step, 5);
  ASSERT_TRUE(whole.last_eval_loss && resumed.last_eval_loss);
  EXPECT_NEAR(*resumed.last_eval_loss, *whole.last_eval_loss, kTolerance * *whole.last_eval_loss);
  EXPECT_LT(*whole.last_eval_loss, *whole.first_eval_loss);
  const auto expected = biases_in(folder / "whole");
  EXPECT_EQ(expected.size(), 3u);
  EXPECT_EQ(biases_in(folder / "run"), expected);
}

INSTANTIATE_TEST_SUITE_P(Pairs, MoeReshard,
                         ::testing::Values(Pair{kEp2, kSingle}, Pair{kSingle, kEp4}, Pair{kEp2Tp2, kDp4},
                                           Pair{kDp4, kEp2Tp2}, Pair{kEp4, kEp2Pp2}, Pair{kEp2Pp2, kEp4Etp1},
                                           Pair{kEp4Etp1, kEp2Zero}, Pair{kEp2Zero, kEp2Fsdp},
                                           Pair{kEp2Fsdp, kEp2}),
                         [](const auto& instance) {
                           return instance.param.from.name + "_to_" + instance.param.to.name;
                         });

TEST(ExpertBias, MovesByItsRateInEveryStepAndIsSaved) {
  const RunFolder folder;
  RunConfig config = run_of(kEp2);
  config.train.save = folder / "run";
  train_on_ranks(config, 2);
  const auto biases = biases_in(folder / "run");
  EXPECT_TRUE(biases.contains("decoder.layers.1.mlp.router.expert_bias"));
  for (const auto& [name, values] : biases) {
    float largest = 0;
    for (const float value : values) {
      const float moves = value * 0x1p10f;
      EXPECT_EQ(moves, std::round(moves)) << name;
      largest = std::max(largest, std::abs(moves));
    }
    EXPECT_GT(largest, 0) << name;
    EXPECT_LE(largest, 8) << name;
  }
}

// Balanced routers would have a load-balancing loss of one.
TEST(RouterLosses, AreInTheMetricsAndTheSameOnEveryLayout) {
  const RunFolder folder;
  std::map<std::string, MetricSeries> expected;
  for (const Layout& layout : {kSingle, kEp2Pp2, kEp4Etp1}) {
    RunConfig config = run_of(layout);
    config.train.metrics = folder / layout.name;
    train_on_ranks(config, layout.num_ranks);
    const auto metrics = read_metrics(folder / layout.name);
    if (expected.empty()) expected = metrics;
    for (const char* name : {"load_balancing_loss", "z_loss"}) {
      const MetricSeries& series = metrics.at(name);
      ASSERT_EQ(series.size(), 8u) << name;
      for (size_t i = 0; i < series.size(); ++i) {
        EXPECT_NEAR(series[i].second, expected.at(name)[i].second, kTolerance * expected.at(name)[i].second)
            << layout.name << " " << name;
      }
    }
    EXPECT_GT(metrics.at("load_balancing_loss")[0].second, 0.5);
    EXPECT_LT(metrics.at("load_balancing_loss")[0].second, 8);
    // log(8)^2 where all logits are zero.
    EXPECT_NEAR(metrics.at("z_loss")[0].second, std::pow(std::log(8.0), 2), 1);
  }
  RunConfig dense = small_run(1);
  dense.train.metrics = folder / "dense";
  testing::train_run(dense);
  EXPECT_FALSE(read_metrics(folder / "dense").contains("z_loss"));
}

}  // namespace
}  // namespace megalith
