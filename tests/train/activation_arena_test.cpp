// Planned addresses change no bit: losses, norms, weights and optimizer state of runs with and without.

#include "megalith/core/memory/activation_arena.h"

#include "megalith/report/metrics_log.h"

#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::RunFolder;
using testing::small_run;

// What the arena of rank 0 did; nothing where there was none.
ActivationArena::Counts train(const RunConfig& config, int num_ranks) {
  ActivationArena::Counts counts;
  run_ranks(num_ranks, [&](Communicator& world) {
    StopSignal stop;
    Exec exec({.num_threads = 1, .seed = 5});
    const Mesh mesh(world, config.parallel);
    Trainer(config, {.size = config.model.vocab_size, .eod = 95}, "model: {}\n", mesh, exec).run(stop);
    if (world.rank() == 0 && exec.pool().arena() != nullptr) counts = exec.pool().arena()->counts();
  });
  return counts;
}

// Twelve steps, an evaluation in front of them and after each third.
ActivationArena::Counts expect_same_run(RunConfig config, int num_ranks) {
  const RunFolder folder;
  config.train.train_iters = 12;
  config.train.save = folder / "without";
  EXPECT_EQ(train(config, num_ranks).steps, 0);
  config.train.activation_arena = true;
  config.train.save = folder / "with";
  const ActivationArena::Counts counts = train(config, num_ranks);
  int num_files = 0;
  for (const auto& entry : std::filesystem::directory_iterator(folder / "without/iter_0000012")) {
    if (entry.path().extension() != ".safetensors") continue;
    const auto other = folder / "with/iter_0000012" / entry.path().filename();
    EXPECT_TRUE(read_text_file(entry.path()) == read_text_file(other)) << entry.path() << " differs";
    ++num_files;
  }
  EXPECT_EQ(num_files, 2 * num_ranks);
  const auto expected = read_metrics(folder / "without/metrics.jsonl");
  const auto got = read_metrics(folder / "with/metrics.jsonl");
  for (const char* metric : {"loss", "grad_norm", "eval_loss", "peak_memory_bytes"})
    EXPECT_EQ(got.at(metric), expected.at(metric)) << metric;
  EXPECT_EQ(got.at("loss").size(), 12u);
  return counts;
}

class ArenaRun : public ::testing::TestWithParam<const char*> {};

TEST_P(ArenaRun, HasTheBitsOfTheRunWithoutIt) {
  RunConfig config = small_run(12);
  config.train.recompute_granularity = GetParam();
  const ActivationArena::Counts counts = expect_same_run(config, 1);
  EXPECT_GE(counts.planned_steps, 8) << "of 12 steps; evaluations come on top";
  EXPECT_EQ(counts.left_steps, 0);
  EXPECT_EQ(counts.displaced, 0);
  EXPECT_GT(counts.placed, 500);
}

INSTANTIATE_TEST_SUITE_P(Recompute, ArenaRun, ::testing::Values("none", "selective", "full"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(ArenaRanks, ShareWeightsAndHaveTheBitsOfTheRunWithoutIt) {
  for (const char* strategy : {"optim", "optim_grads_params"}) {
    RunConfig config = small_run(12);
    config.parallel.data_parallel_sharding_strategy = strategy;
    const ActivationArena::Counts counts = expect_same_run(config, 2);
    EXPECT_GT(counts.placed, 500) << strategy;
  }
}

TEST(ArenaRanks, PassActivationsOnAndHaveTheBitsOfTheRunWithoutIt) {
  RunConfig config = small_run(12);
  config.parallel.pipeline_model_parallel_size = 2;
  EXPECT_GT(expect_same_run(config, 2).placed, 500);
  config.parallel.pipeline_model_parallel_size = 1;
  config.parallel.tensor_model_parallel_size = 2;
  EXPECT_GT(expect_same_run(config, 2).placed, 500);
}

// Rows that are longer for once, and for good.
TEST(ArenaSteps, OfOtherLengthsHaveTheSameBits) {
  const auto run = [](bool has_arena) {
    const RunConfig config = small_run(20);
    Exec exec({.num_threads = 2, .seed = 5});
    if (has_arena) exec.pool().use_arena();
    GptModel model(config.model, exec);
    model.parameters().initialize(exec);
    model.parameters().allocate_gradients(exec);
    AdamW optimizer(model.parameters(), config.optim, exec);
    const ParamSchedule schedule(config.optim, {.train_samples = 100, .samples_per_iteration = 4});
    const Mesh mesh;
    TrainStep step({.model = &model, .optimizer = &optimizer, .schedule = &schedule, .mesh = &mesh},
                   config.train, config.optim.clip_grad);
    std::vector<double> numbers;
    for (int64_t i = 1; i <= 20; ++i) {
      const int64_t length = i == 6 ? 20 : i < 12 ? 24 : 16;
      int64_t next = i;
      const StepResult result = step.run(
          i, 4 * i,
          [&](HostBatch& batch) {
            resize_batch(batch, 2, length);
            for (int64_t row = 0; row < 2; ++row) {
              std::vector<int32_t> text;
              for (int64_t at = 0; at <= length; ++at)
                text.push_back(static_cast<int32_t>((7 * at + 5 * next++) % 90));
              fill_row(batch, row, text, {});
            }
            finish_batch(batch);
          },
          exec);
      numbers.push_back(result.loss);
      numbers.push_back(result.grad_norm);
    }
    if (has_arena) {
      const ActivationArena::Counts& counts = exec.pool().arena()->counts();
      EXPECT_EQ(counts.left_steps, 3) << "the sixth, and the first two that stay short";
      EXPECT_GE(counts.planned_steps, 12);
      EXPECT_EQ(counts.plans, 2);
    }
    return numbers;
  };
  EXPECT_EQ(run(true), run(false));
}

TEST(ArenaConfig, GraphsHaveAddressesOfTheirOwn) {
  RunConfig config = small_run(1);
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  config.train.cuda_graph_impl = "full_iteration";
  check_layout(config, 1);
  config.train.activation_arena = true;
  EXPECT_THROW(check_layout(config, 1), UsageError);
}

}  // namespace
}  // namespace megalith
