// The models of Hugging Face on the GPU, and runs on both devices, or on one after the other.

#include <cmath>

#include "megalith/data/indexed_dataset_builder.h"
#include "megalith/io/npy.h"
#include "megalith/models/gpt/hf_weights.h"
#include "megalith/models/positions.h"
#include "megalith/report/metrics_log.h"

#include "tests/cuda/short_runs.h"
#include "tests/models/hf_fixture.h"
#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

struct Case {
  const char* model;
  DType dtype;
  double tolerance;  // relative, of the logits as a whole
};

class CudaHfParity : public HfDirectoryTest, public ::testing::WithParamInterface<Case> {};

TEST_P(CudaHfParity, LogitsAgreeWithTransformers) {
  const Case& c = GetParam();
  Exec exec({.device = {DeviceKind::kCuda, 0}});
  const HfGolden golden = load_hf_golden(c.model);
  const std::filesystem::path directory = make_directory(golden);
  GptModel model(read_hf_config(directory), exec, c.dtype);
  read_hf_weights(directory, model, exec);
  const int64_t batch = golden.report.at("batch"), seq = golden.report.at("seq");
  std::vector<int32_t> ids;
  for (const uint64_t word : hf_random_words("tokens", batch * seq))
    ids.push_back(static_cast<int32_t>(word % static_cast<uint64_t>(model.vocab_size())));

  Tape tape(exec, {.is_recording = false, .recompute = {}});
  const ForwardContext context{.batch = batch, .positions = sequence_positions(batch, seq, exec)};
  const Tensor logits =
      model.logits(tape, context, exec.from_host(std::span<const int32_t>(ids), {batch * seq}));
  const std::vector<double> ours = to_vector<double>(logits);
  const NpyArray theirs = read_npy(golden.directory / "logits.npy");  // [B, S, every STRIDE-th of V]
  const int64_t stride = golden.report.at("logits_stride"), columns = theirs.shape().at(2);
  double difference = 0, reference = 0;
  for (int64_t row = 0; row < logits.dim(0); ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      const double wanted = theirs.values<float>()[static_cast<size_t>(row * columns + column)];
      const double got = ours[static_cast<size_t>(row * logits.dim(1) + column * stride)];
      difference += (got - wanted) * (got - wanted);
      reference += wanted * wanted;
    }
  }
  EXPECT_LT(std::sqrt(difference / reference), c.tolerance);
}

TEST_P(CudaHfParity, ExportsTheSameBits) {
  const Case& c = GetParam();
  const ExecOptions kGpu{.device = {DeviceKind::kCuda, 0}};
  Exec gpu(kGpu), cpu;
  const HfGolden golden = load_hf_golden(c.model);
  const std::filesystem::path directory = make_directory(golden), out = root_ / "out";
  const auto values = [&](const std::filesystem::path& from, Exec& exec) {
    GptModel model(read_hf_config(from), exec, c.dtype);
    read_hf_weights(from, model, exec);
    if (!std::filesystem::exists(out)) write_hf_directory(out, model, {}, exec);
    std::vector<std::vector<double>> all;
    for (const auto& parameter : model.parameters().parameters())
      all.push_back(to_vector<double>(parameter->data));
    return all;
  };
  const auto on_gpu = values(directory, gpu);
  EXPECT_EQ(values(out, cpu), on_gpu);
}

// bf16 keeps 8 bits: some tens of roundings of 2^-9 add up to a few hundredths.
INSTANTIATE_TEST_SUITE_P(
    Models, CudaHfParity,
    ::testing::Values(Case{"llama", DType::kF32, 1e-4}, Case{"llama3_tied", DType::kF32, 1e-4},
                      Case{"mistral", DType::kF32, 1e-4}, Case{"qwen2", DType::kF32, 1e-4},
                      Case{"gpt2", DType::kF32, 1e-4}, Case{"llama", DType::kBF16, 3e-2},
                      Case{"llama3_tied", DType::kBF16, 3e-2}),
    [](const auto& test) { return std::string(test.param.model) + "_" + name_of(test.param.dtype); });

TrainSummary train_on(const char* device, const RunConfig& config) {
  StopSignal stop;
  Exec exec({.device = device == std::string("cpu") ? Device{} : Device{DeviceKind::kCuda, 0},
             .num_threads = 2,
             .seed = static_cast<uint64_t>(config.data.seed)});
  const Mesh mesh;
  return Trainer(config, {.size = config.model.vocab_size, .eod = 95}, "model: {}\n", mesh, exec).run(stop);
}

TEST(CudaCheckpoint, ARunGoesFromCpuToGpuAndBack) {
  const testing::RunFolder folder;
  RunConfig whole = testing::small_run(12);
  whole.train.metrics = folder / "whole.jsonl";
  train_on("cpu", whole);

  RunConfig parts = whole;
  parts.train.metrics = folder / "parts.jsonl";
  parts.train.save = parts.train.load = folder / "run";
  int64_t end = 4;
  for (const char* device : {"cpu", "cuda", "cpu"}) {
    parts.train.train_iters = end;
    EXPECT_EQ(train_on(device, parts).last_step, end) << device;
    end += 4;
  }
  const auto expected = read_metrics(folder / "whole.jsonl"), got = read_metrics(folder / "parts.jsonl");
  ASSERT_EQ(got.at("loss").size(), 12u);
  for (size_t i = 0; i < 12; ++i) {
    const double loss = expected.at("loss")[i].second;
    EXPECT_NEAR(got.at("loss")[i].second, loss, 1e-4 * loss) << "step " << i + 1 << ", f32 on both";
  }
}

// Text whose next character follows from the last one and from one of eight throws: its loss stays above
// ln 8.
void write_throws(const std::filesystem::path& prefix) {
  IndexedDatasetBuilder builder(prefix.string(), TokenType::kU16);
  std::vector<int32_t> document;
  for (uint64_t number = 0; number < 64; ++number) {
    document.assign(1, 95);
    for (uint64_t i = 0; i < 2000; ++i)
      document.push_back(static_cast<int32_t>((5 * document.back() + RngKey{3, number}.bits(i) % 8) % 95));
    builder.add_document(document);
  }
  builder.finish();
}

TEST(CudaTraining, HundredStepsInBf16FollowTheCpuInF32) {
  const testing::RunFolder folder;
  write_throws(folder / "throws");
  const int64_t steps = at_most(3, 100);
  RunConfig config = testing::small_run(steps);
  config.model.hidden_dropout = config.model.attention_dropout = 0;
  config.model.hidden_size = 128, config.model.ffn_hidden_size = 352;
  config.model.max_position_embeddings = config.data.seq_length = 64;
  config.data.data_path = {(folder / "throws").string()};
  config.optim.lr_decay_iters = 100, config.optim.lr_warmup_iters = 10;
  config.train.micro_batch_size = 8, config.train.global_batch_size = 16;
  config.train.eval_iters = 0;
  config.train.metrics = folder / "cpu.jsonl";
  train_on("cpu", config);
  config.model.bf16 = true;
  config.train.metrics = folder / "cuda.jsonl";
  train_on("cuda", config);
  const auto expected = read_metrics(folder / "cpu.jsonl"), got = read_metrics(folder / "cuda.jsonl");
  ASSERT_EQ(got.at("loss").size(), static_cast<size_t>(steps));
  if (!is_short_run()) {
    EXPECT_LT(expected.at("loss").back().second, 0.8 * expected.at("loss").front().second) << "it learns";
  }
  for (size_t i = 0; i < static_cast<size_t>(steps); ++i) {
    const double loss = expected.at("loss")[i].second;
    EXPECT_NEAR(got.at("loss")[i].second, loss, 0.01 * loss) << "step " << i + 1;
  }
}

}  // namespace
}  // namespace megalith
