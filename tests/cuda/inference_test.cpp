// Generation on the GPU: the captured decode step against the forward without a cache and against the CPU.

#include <gtest/gtest.h>

#include "megalith/infer/decode_step.h"
#include "megalith/infer/generate.h"
#include "megalith/models/gpt/gpt_model.h"
#include "megalith/models/positions.h"
#include "megalith/ops/append_keys.h"
#include "megalith/ops/attention.h"
#include "megalith/ops/largest_column.h"
#include "megalith/ops/sample_tokens.h"

#include "tests/cuda/letters_model.h"
#include "tests/cuda/short_runs.h"
#include "tests/cuda/twins.h"
#include "tests/infer/letters.h"

namespace megalith {
namespace {

using testing::Letters;
using testing::letters_model;
using testing::Twins;

const ExecOptions kGpu{.device = {DeviceKind::kCuda, 0}};

struct Runner {
  explicit Runner(const GptConfig& c, const ExecOptions& options = kGpu) : exec(options), model(c, exec) {
    model.parameters().initialize(exec);
  }
  std::vector<Generation> generate(const std::vector<std::string>& prompts, int64_t tokens, bool use_cache,
                                   const SamplingOptions& sampling = {.temperature = 0}) {
    std::vector<std::vector<int32_t>> ids;
    const Letters letters;
    for (const std::string& prompt : prompts) ids.push_back(letters.encode(prompt));
    const GenerateOptions options{.max_new_tokens = tokens, .sampling = sampling, .use_cache = use_cache};
    return megalith::generate(model, letters, ids, options, exec);
  }
  Exec exec;
  GptModel model;
};

// Heads of 16 are read in vectors by the decode kernel, heads of 6 by the tiled one.
class CudaGenerate : public ::testing::TestWithParam<int64_t> {};

TEST_P(CudaGenerate, GreedyWithCacheEqualsTheForwardWithout) {
  Runner run(letters_model(GetParam()));
  const int64_t tokens = at_most(12, 200);
  EXPECT_EQ(run.generate({"hello"}, tokens, true)[0].text, run.generate({"hello"}, tokens, false)[0].text);
}

TEST_P(CudaGenerate, SampledWithCacheEqualsTheForwardWithoutAndTheCpus) {
  const SamplingOptions sampling{.temperature = 0.8, .top_k = 12, .top_p = 0.9};
  Runner gpu(letters_model(GetParam())), cpu(letters_model(GetParam()), {});
  const std::string text = gpu.generate({"hello"}, at_most(8, 60), true, sampling)[0].text;
  EXPECT_EQ(text, gpu.generate({"hello"}, at_most(8, 60), false, sampling)[0].text);
  EXPECT_EQ(text, cpu.generate({"hello"}, at_most(8, 60), true, sampling)[0].text);
}

TEST_P(CudaGenerate, GreedyEqualsTheCpus) {
  Runner gpu(letters_model(GetParam())), cpu(letters_model(GetParam()), {});
  const std::vector<std::string> prompts = {"a", "thequickbrownfox", "hello"};
  const auto on_gpu = gpu.generate(prompts, at_most(8, 60), true),
             on_cpu = cpu.generate(prompts, at_most(8, 60), true);
  for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(on_gpu[i].text, on_cpu[i].text) << prompts[i];
}

INSTANTIATE_TEST_SUITE_P(HeadDim, CudaGenerate, ::testing::Values(16, 6));

TEST(CudaInference, ReplaysGiveTheBitsOfTheFirstRun) {
  GptConfig c = letters_model(16);
  c.bf16 = true;
  Runner run(c);
  const auto decode = [&] {
    KvCache cache = run.model.make_cache(1, 40, run.exec);
    const std::vector<int32_t> prompt = {3, 1, 4};
    Tape tape(run.exec, {.is_recording = false, .recompute = {}});
    const ForwardContext context{
        .batch = 1, .positions = sequence_positions(1, 3, run.exec), .cache = &cache};
    run.model.last_logits(tape, context, run.exec.from_host(std::span(prompt), {3}));
    DecodeStep step(run.model, cache, {0}, run.exec);
    std::vector<double> all;
    for (int32_t token = 0; token < 20; ++token) {
      const std::vector<int32_t> ids = {token};
      for (const double value : to_vector<double>(step.run(ids))) all.push_back(value);
    }
    return all;
  };
  EXPECT_EQ(decode(), decode());
}

TEST(CudaInference, LogitsInF32EqualTheCpus) {
  Runner gpu(letters_model(16)), cpu(letters_model(16), {});
  const auto logits = [](Runner& run) {
    std::vector<int32_t> ids;
    for (int32_t i = 0; i < 150; ++i) ids.push_back(i * i % 26);
    Tape tape(run.exec, {.is_recording = false, .recompute = {}});
    const ForwardContext context{.batch = 3, .positions = sequence_positions(3, 50, run.exec)};
    return to_vector<double>(
        run.model.logits(tape, context, run.exec.from_host(std::span<const int32_t>(ids), {150})));
  };
  const auto a = logits(gpu), b = logits(cpu);
  double difference = 0, square = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    square += b[i] * b[i];
  }
  EXPECT_LT(std::sqrt(difference / square), 1e-5) << "some hundred roundings of f32";
}

// Equal logits, ones that were ruled out, and many words.
TEST(CudaInference, SamplesTheCpusTokens) {
  Twins twins;
  constexpr int64_t kRows = 64;
  const auto integers = [&](const std::vector<int32_t>& values) {
    const std::span<const int32_t> all(values);
    const Shape shape{static_cast<int64_t>(values.size())};
    return Twins::Pair{twins.cpu().from_host(all, shape), twins.gpu().from_host(all, shape)};
  };
  for (const auto& [dtype, columns] :
       {std::pair(DType::kF32, int64_t{1000}), std::pair(DType::kBF16, int64_t{32003}),
        std::pair(DType::kF16, int64_t{7}), std::pair(DType::kF32, int64_t{131072})}) {
    std::vector<double> values(static_cast<size_t>(kRows * columns));
    std::vector<int32_t> words;
    for (size_t i = 0; i < values.size(); ++i) {
      const uint32_t bits = RngKey{9, 1}.bits(i);
      values[i] = bits % 17 == 0 ? -INFINITY : static_cast<double>(bits >> 8) * 0x1p-24 * 20 - 10;
    }
    const auto logits = twins.of(values, {kRows, columns}, dtype);
    for (int64_t row = 0; row < kRows; ++row)
      words.push_back(static_cast<int32_t>(RngKey{9, 2}.bits(static_cast<uint64_t>(row))));
    const Twins::Pair draws = integers(words), out = integers(std::vector<int32_t>(kRows, -7));
    for (const SamplingOptions& options :
         {SamplingOptions{}, SamplingOptions{.temperature = 0.3}, SamplingOptions{.top_k = 5},
          SamplingOptions{.top_p = 0.7}, SamplingOptions{.temperature = 5, .top_k = 300, .top_p = 0.95},
          SamplingOptions{.temperature = 1e-40}, SamplingOptions{.top_k = 1}}) {
      sample_tokens({.logits = logits.cpu, .words = draws.cpu, .options = options, .out = out.cpu},
                    twins.cpu());
      sample_tokens({.logits = logits.gpu, .words = draws.gpu, .options = options, .out = out.gpu},
                    twins.gpu());
      EXPECT_EQ(to_vector<int32_t>(out.gpu), to_vector<int32_t>(out.cpu))
          << fmt::format("{} columns, temperature {}, top_k {}, top_p {}", columns, options.temperature,
                         options.top_k, options.top_p);
    }
  }
  const auto bad =
      twins.of({1, NAN, 2, INFINITY, 0, 0, -INFINITY, -INFINITY, -INFINITY}, {3, 3}, DType::kF32);
  const Tensor out = twins.gpu().zeros({3}, DType::kI32);
  sample_tokens({.logits = bad.gpu, .words = out, .options = {}, .out = out}, twins.gpu());
  EXPECT_EQ(to_vector<int32_t>(out), (std::vector<int32_t>{-1, -1, -1}));
}

TEST(CudaInference, LargestColumn) {
  Twins t;
  for (const DType dtype : conformance::kFloatTypes) {
    for (const Shape& shape : {Shape{3, 32000}, Shape{5, 7}, Shape{0, 4}, Shape{1, 1}}) {
      const auto x = t.random(shape, dtype, 1, conformance::Layout::kPaddedRows);
      const auto out = t.of(std::vector<double>(static_cast<size_t>(shape[0]), -1), {shape[0]}, DType::kI32);
      largest_column(x.cpu, out.cpu, t.cpu());
      largest_column(x.gpu, out.gpu, t.gpu());
      Twins::expect_equal(out, shape.str());
    }
  }
}

TEST(CudaInference, AppendedKeysAndTheirNumberOnTheDevice) {
  Twins t;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
    for (const int64_t head_dim : {64, 24, 5}) {
      constexpr int64_t kBatch = 2, kLength = 700, kHeads = 4, kGroups = 2;
      const auto keys = t.random({kBatch, kLength, kGroups, head_dim}, dtype, 1);
      const auto values = t.random({kBatch, kLength, kGroups, head_dim}, dtype, 2);
      for (const double place : {0.0, 9.0, 600.0, 699.0}) {
        SCOPED_TRACE(fmt::format("{} head_dim {} place {}", name_of(dtype), head_dim, place));
        const auto qkv = t.random({kBatch, 1, kHeads + 2 * kGroups, head_dim}, dtype, 3);
        const auto where = t.of({place}, {1}, DType::kI32), count = t.of({place + 1}, {1}, DType::kI32);
        const auto out = t.poisoned({kBatch, 1, kHeads, head_dim}, dtype);
        const auto run = [&](const Tensor& x, const Tensor& k, const Tensor& v, const Tensor& at,
                             const Tensor& number, const Tensor& result, Exec& exec) {
          append_keys({.k = x.slice(2, kHeads, kHeads + kGroups),
                       .v = x.slice(2, kHeads + kGroups, kHeads + 2 * kGroups),
                       .place = at,
                       .keys = k,
                       .values = v},
                      exec);
          attention({.q = x.slice(2, 0, kHeads),
                     .k = k,
                     .v = v,
                     .scale = 1 / std::sqrt(static_cast<double>(head_dim)),
                     .num_keys = number,
                     .out = result},
                    exec);
        };
        run(qkv.cpu, keys.cpu, values.cpu, where.cpu, count.cpu, out.cpu, t.cpu());
        run(qkv.gpu, keys.gpu, values.gpu, where.gpu, count.gpu, out.gpu, t.gpu());
        Twins::expect_equal(keys, "keys");
        Twins::expect_equal(values, "values");
        // In two bytes the weights, which add up to 1, are rounded before they meet the values.
        const double rounding = dtype == DType::kF32 ? 0 : conformance::unit_roundoff(dtype);
        Twins::expect_close(out, 700, 4 + 0x1.2p13 * rounding, "out");
      }
    }
  }
}

}  // namespace
}  // namespace megalith
