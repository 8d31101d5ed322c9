// Planned addresses on the GPU: the bits of runs without, and memory that goes where it is needed.

#include "megalith/core/memory/activation_arena.h"
#include "megalith/ops/elementwise.h"
#include "megalith/report/metrics_log.h"

#include "tests/cuda/short_runs.h"
#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::RunFolder;
using testing::small_run;

const Device kGpu{DeviceKind::kCuda, 0};
constexpr int64_t kMiB = 1 << 20;

// Steps that ask for more than a page of memory each, so that there is something to plan.
RunConfig gpu_run() {
  RunConfig config = small_run(at_most(3, 10));
  config.model.num_layers = 4;
  config.model.hidden_size = 128;
  config.model.ffn_hidden_size = 512;
  config.model.max_position_embeddings = config.data.seq_length = 256;
  config.model.bf16 = true;
  config.train.micro_batch_size = at_most(4, 8);
  config.train.global_batch_size = at_most(4, 16);
  return config;
}

ActivationArena::Counts train(const RunConfig& config) {
  StopSignal stop;
  Exec exec({.device = kGpu, .seed = 5});
  const Mesh mesh;
  Trainer(config, {.size = config.model.vocab_size, .eod = 95}, "model: {}\n", mesh, exec).run(stop);
  return exec.pool().arena() != nullptr ? exec.pool().arena()->counts() : ActivationArena::Counts{};
}

class CudaArenaRuns : public ::testing::TestWithParam<const char*> {};

TEST_P(CudaArenaRuns, HaveTheBitsOfRunsWithoutIt) {
  const std::string_view form = GetParam();
  RunConfig config = gpu_run();
  if (form == "recomputed") config.train.recompute_granularity = "full";
  if (form == "offloaded") config.train.cpu_offloading_num_layers = 2;
  const RunFolder folder;
  config.train.save = folder / "without";
  EXPECT_EQ(train(config).steps, 0);
  config.train.activation_arena = true;
  config.train.save = folder / "with";
  const ActivationArena::Counts counts = train(config);
  const std::string last = fmt::format("iter_{:07}", config.train.train_iters);
  for (const char* file : {"model.safetensors", "optimizer.safetensors"})
    EXPECT_TRUE(read_text_file(folder / "without" / last / file) ==
                read_text_file(folder / "with" / last / file))
        << file;
  const auto expected = read_metrics(folder / "without/metrics.jsonl");
  const auto got = read_metrics(folder / "with/metrics.jsonl");
  for (const char* metric : {"loss", "grad_norm", "eval_loss"})
    EXPECT_EQ(got.at(metric), expected.at(metric)) << metric;
  EXPECT_GE(counts.planned_steps, at_most(1, 6));
  EXPECT_EQ(counts.displaced, 0);
  std::printf("%ld of %ld steps as planned, %ld requests placed\n", counts.planned_steps, counts.steps,
              counts.placed);
}

INSTANTIATE_TEST_SUITE_P(All, CudaArenaRuns, ::testing::Values("plain", "recomputed", "offloaded"),
                         [](const auto& instance) { return std::string(instance.param); });

TEST(CudaArena, LendsItsMemoryToWhatNeedsItBetweenSteps) {
  Exec exec({.device = kGpu});
  exec.pool().use_arena();
  const int64_t gib = 1 << 30;
  const int64_t quarter = cuda_memory(0).free_bytes / 4 / gib * gib;
  const auto step = [&] {
    const ArenaScope scope(exec.pool(), "other", "step");
    const Tensor a = exec.empty({quarter / 4}, DType::kF32), b = exec.empty({quarter / 4}, DType::kF32);
    for (const Tensor& each : {a, b}) fill(each.slice(0, 0, 1024), 3, exec);
    EXPECT_EQ(to_vector<float>(a.slice(0, 0, 1024)), std::vector<float>(1024, 3));
    return std::vector<const std::byte*>{a.raw(), b.raw()};
  };
  for (int i = 0; i < 3; ++i) step();
  const auto places = step();
  EXPECT_EQ(exec.pool().arena()->mapped_bytes(), 2 * quarter);
  {
    const Tensor large = exec.empty({3 * quarter / 4}, DType::kF32);
    fill(large.slice(0, 0, 1024), 7, exec);
    EXPECT_EQ(exec.pool().arena()->mapped_bytes(), 0);
    EXPECT_EQ(to_vector<float>(large.slice(0, 0, 1024)), std::vector<float>(1024, 7));
  }
  EXPECT_EQ(step(), places) << "the same addresses with other memory";
  EXPECT_LE(exec.pool().held_bytes(), 2 * quarter + 64 * kMiB);
}

}  // namespace
}  // namespace megalith
