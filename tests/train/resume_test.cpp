// 2N steps equal N steps, a save, a load and N more: every byte of weights and optimizer state, and every
// number of the log.

#include <csignal>
#include <thread>

#include "megalith/comm/run_ranks.h"
#include "megalith/report/metrics_log.h"

#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::RunFolder;
using testing::small_run;
using testing::train_run;

void expect_same_file(const std::filesystem::path& a, const std::filesystem::path& b) {
  EXPECT_TRUE(read_text_file(a) == read_text_file(b)) << a << " and " << b << " differ";
}

// Of the model, and of its gradients.
struct Dtypes {
  const char* name;
  bool is_bf16;
  const char* main_grads_dtype;
};

class Resume : public ::testing::TestWithParam<Dtypes> {};

TEST_P(Resume, IsExact) {
  const RunFolder folder;
  RunConfig whole = small_run(10);
  whole.model.bf16 = GetParam().is_bf16;
  whole.optim.main_grads_dtype = GetParam().main_grads_dtype;
  whole.train.save = folder / "whole";
  train_run(whole);

  RunConfig parts = whole;
  parts.train.save = parts.train.load = folder / "parts";
  parts.train.train_iters = 5;
  train_run(parts);
  parts.train.train_iters = 10;
  const TrainSummary summary = train_run(parts);
  EXPECT_EQ(summary.first_step, 6);

  for (const char* file : {"model.safetensors", "optimizer.safetensors"}) {
    expect_same_file(folder / "whole/iter_0000010" / file, folder / "parts/iter_0000010" / file);
  }
  const auto expected = read_metrics(folder / "whole/metrics.jsonl");
  const auto got = read_metrics(folder / "parts/metrics.jsonl");
  for (const char* metric : {"loss", "lr", "grad_norm", "consumed_samples"}) {
    EXPECT_EQ(got.at(metric), expected.at(metric)) << metric;
    EXPECT_EQ(got.at(metric).size(), 10u);
  }
}

INSTANTIATE_TEST_SUITE_P(Dtypes, Resume,
                         ::testing::Values(Dtypes{"F32", false, "fp32"}, Dtypes{"Bf16", true, "fp32"},
                                           Dtypes{"Bf16Gradients", true, "bf16"}),
                         [](const auto& instance) { return instance.param.name; });

// A checkpoint written beside the steps holds the weights of its own step.
TEST(AsyncSave, HoldsWhatASaveInLineHolds) {
  const RunFolder folder;
  RunConfig config = small_run(6);
  config.train.save_interval = 2;
  const auto run = [&](const std::string& name, int num_ranks) {
    config.train.save = folder / name;
    run_ranks(num_ranks, [&](Communicator& world) {
      Exec exec({.num_threads = 1});
      StopSignal stop;
      const Mesh mesh(world, config.parallel);
      Trainer(config, {.size = 96, .eod = 95}, "model: {}\n", mesh, exec).run(stop);
    });
  };
  const auto file_names = [](int num_ranks) -> std::vector<std::string> {
    if (num_ranks == 1) return {"model.safetensors", "optimizer.safetensors"};
    return {"model_00000.safetensors", "optimizer_00000.safetensors", "model_00001.safetensors",
            "optimizer_00001.safetensors"};
  };
  for (const int num_ranks : {1, 2}) {
    config.parallel.data_parallel_sharding_strategy = num_ranks > 1 ? "optim" : "no_shard";
    config.train.async_save = false;
    run(fmt::format("line{}", num_ranks), num_ranks);
    config.train.async_save = true;
    run(fmt::format("beside{}", num_ranks), num_ranks);
    for (const char* iteration : {"iter_0000002", "iter_0000004", "iter_0000006"})
      for (const std::string& file : file_names(num_ranks))
        expect_same_file(folder / fmt::format("line{}/{}/{}", num_ranks, iteration, file),
                         folder / fmt::format("beside{}/{}/{}", num_ranks, iteration, file));
  }
}

TEST(Trainer, LossFallsOnDataThatCanBeLearnt) {
  RunConfig config = small_run(60);
  config.optim.lr_decay_iters = 60;
  config.optim.lr = 1e-2;
  config.train.global_batch_size = 8;
  config.train.micro_batch_size = 8;
  const TrainSummary summary = train_run(config);
  EXPECT_LT(summary.last_loss, 0.8 * summary.first_loss);
  EXPECT_LT(*summary.last_eval_loss, 0.9 * *summary.first_eval_loss);
}

TEST(Trainer, MicrobatchesSumToTheGlobalBatch) {
  // Without masks every microbatch has the same number of tokens, so the mean of means is the mean: only the
  // order of sums differs.
  const auto first_steps = [](int64_t micro_batch_size, const std::filesystem::path& metrics) {
    RunConfig config = small_run(2);
    config.model.hidden_dropout = config.model.attention_dropout = 0;
    config.data.reset_attention_mask = config.data.reset_position_ids = config.data.eod_mask_loss = false;
    config.train.micro_batch_size = micro_batch_size;
    config.train.metrics = metrics;
    train_run(config);
    return read_metrics(metrics);
  };
  const RunFolder folder;
  const auto one = first_steps(4, folder / "one.jsonl"), four = first_steps(1, folder / "four.jsonl");
  // 96 tokens' losses of about 4.6 in f32.
  EXPECT_NEAR(one.at("loss")[0].second, four.at("loss")[0].second, 96 * 4.6 * 0x1p-23);
  EXPECT_NEAR(one.at("grad_norm")[0].second, four.at("grad_norm")[0].second,
              1e-5 * one.at("grad_norm")[0].second);
}

// A signal comes after 0.3 s.
TrainSummary interrupted_run(const RunConfig& config) {
  StopSignal stop;
  Exec exec({.num_threads = 1});
  const Mesh mesh;
  Trainer trainer(config, {.size = 96, .eod = 95}, "model: {}\n", mesh, exec);
  std::jthread killer([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(300));
    kill(getpid(), SIGTERM);
  });
  const TrainSummary summary = trainer.run(stop);
  EXPECT_TRUE(summary.was_interrupted);
  return summary;
}

TEST(Trainer, SignalSavesAndReturns) {
  const RunFolder folder;
  RunConfig config = small_run(100000);
  config.optim.lr_decay_iters = 0;
  config.train.eval_iters = 0;
  config.train.save = folder / "run";
  const TrainSummary summary = interrupted_run(config);
  EXPECT_GT(summary.last_step, 0);
  EXPECT_TRUE(std::filesystem::exists(summary.checkpoint / "manifest.json"));
  config.train.load = config.train.save;
  config.train.train_iters = summary.last_step + 1;
  EXPECT_EQ(train_run(config).first_step, summary.last_step + 1);
}

TEST(Trainer, SignalEndsALongEvaluation) {
  const RunFolder folder;
  RunConfig config = small_run(100);
  config.optim.lr_decay_iters = 0;
  config.train.eval_iters = 1000000;
  config.train.save = folder / "run";
  const TrainSummary summary = interrupted_run(config);
  EXPECT_EQ(summary.last_step, 0);
  EXPECT_FALSE(summary.first_eval_loss.has_value());
}

TEST(Trainer, FinetuneTakesOnlyTheWeights) {
  const RunFolder folder;
  RunConfig config = small_run(4);
  config.train.save = folder / "base";
  const TrainSummary base = train_run(config);
  config.train.load = config.train.save;
  config.train.finetune = true;
  config.train.save = folder / "tuned";
  const TrainSummary tuned = train_run(config);
  EXPECT_EQ(tuned.first_step, 1);
  EXPECT_FLOAT_EQ(static_cast<float>(*tuned.first_eval_loss), static_cast<float>(*base.last_eval_loss));
}

}  // namespace
}  // namespace megalith
