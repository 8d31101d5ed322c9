// Training goes on from a checkpoint on another layout as if nothing had happened.
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/comm/run_ranks.h"
#include "megalith/models/gpt/hf_weights.h"

#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::RunFolder;
using testing::small_run;

struct Layout {
  std::string name;
  int num_ranks = 1;
  ParallelConfig parallel;
};

const Layout kSingle{"single", 1, {}};
const Layout kTp2Sp{"tp2sp", 2, {.tensor_model_parallel_size = 2, .sequence_parallel = true}};
const Layout kTp4{"tp4", 4, {.tensor_model_parallel_size = 4}};
const Layout kPp2{"pp2", 2, {.pipeline_model_parallel_size = 2}};
const Layout kPp4{"pp4", 4, {.pipeline_model_parallel_size = 4}};
const Layout kZbV{"zbv", 2, {.pipeline_model_parallel_size = 2, .pipeline_schedule = "zb-v"}};
const Layout kDp2{"dp2", 2, {}};
const Layout kZero2{"zero1dp2", 2, {.data_parallel_sharding_strategy = "optim"}};
const Layout kZero4{"zero1dp4", 4, {.data_parallel_sharding_strategy = "optim"}};
const Layout kGrads4{"zero2dp4", 4, {.data_parallel_sharding_strategy = "optim_grads"}};
const Layout kFsdp4{"zero3dp4", 4, {.data_parallel_sharding_strategy = "optim_grads_params"}};
const Layout kFsdpTp2{"zero3dp2tp2",
                      4,
                      {.tensor_model_parallel_size = 2,
                       .sequence_parallel = true,
                       .data_parallel_sharding_strategy = "optim_grads_params"}};
const Layout kHsdp{
    "hsdp2x2",
    4,
    {.data_parallel_sharding_strategy = "optim_grads_params", .num_distributed_optimizer_instances = 2}};
const Layout kMixed{"tp2pp2dp2",
                    8,
                    {.tensor_model_parallel_size = 2,
                     .pipeline_model_parallel_size = 2,
                     .sequence_parallel = true,
                     .data_parallel_sharding_strategy = "optim"}};

struct Pair {
  Layout from, to;
  std::string softmax_type = "vanilla";

  std::string name() const {
    return from.name + "_to_" + to.name + (softmax_type == "vanilla" ? "" : "_" + softmax_type);
  }
};

TrainSummary train(RunConfig config, const Layout& layout) {
  config.parallel = layout.parallel;
  TrainSummary result;
  run_ranks(layout.num_ranks, [&](Communicator& world) {
    StopSignal stop;
    Exec exec({.num_threads = 1, .seed = 5});
    const Mesh mesh(world, config.parallel);
    const Vocabulary vocabulary{.size = config.model.vocab_size, .eod = 95};
    Trainer trainer(config, vocabulary, "model: {}\n", mesh, exec);
    const TrainSummary summary = trainer.run(stop);
    if (world.rank() == 0) result = summary;
  });
  return result;
}

RunConfig run_of(int64_t steps, const std::string& softmax_type = "vanilla") {
  RunConfig config = small_run(steps);
  config.model.softmax_type = softmax_type;
  config.model.num_layers = 4;
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  config.train.micro_batch_size = 1;
  config.train.global_batch_size = 4;
  config.train.eval_interval = 100;
  return config;
}

class Reshard : public ::testing::TestWithParam<Pair> {};

TEST_P(Reshard, GoesOnAsIfUninterrupted) {
  const auto& [from, to, softmax_type] = GetParam();
  const RunFolder folder;
  const TrainSummary whole = train(run_of(8, softmax_type), kSingle);

  RunConfig first = run_of(8, softmax_type);
  first.train.train_iters = 4;
  first.optim.lr_decay_iters = 12;
  first.train.save = folder / "run";
  train(first, from);
  RunConfig second = run_of(8, softmax_type);
  second.train.load = folder / "run";
  const TrainSummary resumed = train(second, to);

  EXPECT_EQ(resumed.first_step, 5);
  // f32 sums of up to 96 tokens x 32 columns in another order, over eight steps.
  const double tolerance = 20 * 0x1p-24 * std::sqrt(96.0 * 32);
  ASSERT_TRUE(whole.last_eval_loss && resumed.last_eval_loss);
  EXPECT_NEAR(*resumed.last_eval_loss, *whole.last_eval_loss, tolerance * *whole.last_eval_loss);
  EXPECT_LT(*whole.last_eval_loss, *whole.first_eval_loss);
}

TEST(Finetune, TakesAHuggingFaceModelOnSharedWeights) {
  const RunFolder folder;
  RunConfig config = run_of(2);
  {
    Exec exec({.num_threads = 1, .seed = 8});
    GptModel model(config.model, exec);
    model.parameters().initialize(exec);
    write_hf_directory(folder / "hf", model, {}, exec);
  }
  config.train.load = folder / "hf";
  config.train.finetune = true;
  const TrainSummary expected = train(config, kSingle);
  for (const Layout& layout : {kZero2, kFsdp4, kHsdp}) {
    const TrainSummary actual = train(config, layout);
    EXPECT_NEAR(*actual.first_eval_loss, *expected.first_eval_loss, 1e-5) << layout.name;
    EXPECT_NEAR(*actual.last_eval_loss, *expected.last_eval_loss, 1e-5) << layout.name;
  }
  EXPECT_THAT([&] { train(config, kTp4); },
              ::testing::ThrowsMessage<Error>(::testing::HasSubstr("parallel sizes must be 1")));
}

INSTANTIATE_TEST_SUITE_P(
    Pairs, Reshard,
    ::testing::Values(Pair{kSingle, kTp2Sp}, Pair{kSingle, kMixed}, Pair{kSingle, kZero4},
                      Pair{kTp2Sp, kSingle}, Pair{kTp4, kPp2}, Pair{kPp2, kTp4}, Pair{kPp4, kZbV},
                      Pair{kZbV, kPp4}, Pair{kDp2, kZero2}, Pair{kZero2, kDp2}, Pair{kZero2, kZero4},
                      Pair{kZero4, kTp2Sp}, Pair{kMixed, kSingle}, Pair{kMixed, kPp4}, Pair{kMixed, kZero2},
                      Pair{kSingle, kFsdp4}, Pair{kFsdp4, kSingle}, Pair{kFsdp4, kHsdp},
                      Pair{kHsdp, kFsdpTp2}, Pair{kFsdpTp2, kGrads4}, Pair{kGrads4, kPp2},
                      Pair{kMixed, kFsdp4}, Pair{kSingle, kMixed, "learnable"},
                      Pair{kFsdpTp2, kTp4, "learnable"}, Pair{kTp4, kSingle, "learnable"}),
    [](const auto& instance) { return instance.param.name(); });

}  // namespace
}  // namespace megalith
