// The kernel over all layers of one token, against the layers one by one and against f32 on the CPU.

#include <gtest/gtest.h>

#include "megalith/infer/decode_step.h"
#include "megalith/models/gpt/gpt_model.h"
#include "megalith/models/positions.h"
#include "megalith/ops/elementwise.h"

#include "tests/cuda/twins.h"

namespace megalith {
namespace {

struct Case {
  int64_t hidden, heads, groups, head_dim, ffn, layers, prompt, vocab;
  int64_t window = -1;
};
void PrintTo(const Case& c, std::ostream* out) {
  *out << fmt::format("hidden {} heads {}/{} of {} ffn {} layers {} prompt {} vocab {} window {}", c.hidden,
                      c.heads, c.groups, c.head_dim, c.ffn, c.layers, c.prompt, c.vocab, c.window);
}

GptConfig config(const Case& c) {
  GptConfig g;
  g.num_layers = c.layers;
  g.hidden_size = c.hidden;
  g.num_attention_heads = c.heads;
  g.num_query_groups = c.groups;
  g.kv_channels = c.head_dim;
  g.ffn_hidden_size = c.ffn;
  g.vocab_size = c.vocab;
  g.make_vocab_size_divisible_by = 8;
  g.max_position_embeddings = c.prompt + 32;
  g.position_embedding_type = "rope";
  g.normalization = "RMSNorm";
  g.swiglu = true;
  g.add_bias_linear = false;
  g.untie_embeddings_and_output_weights = true;
  if (c.window >= 0) g.window_size = {c.window, 0};
  g.bf16 = true;
  return g;
}

// The same prompt and tokens for every sequence of a batch; two of them have no kernel over all layers.
std::vector<double> decode(GptModel& model, int64_t batch, int64_t prompt_length, int steps, Exec& exec) {
  KvCache cache = model.make_cache(batch, prompt_length + steps, exec);
  std::vector<int32_t> prompt;
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t i = 0; i < prompt_length; ++i)
      prompt.push_back(static_cast<int32_t>((i * i + 3 * i) % model.vocab_size()));
  Tape tape(exec, {.is_recording = false, .recompute = {}});
  const ForwardContext context{
      .batch = batch, .positions = sequence_positions(batch, prompt_length, exec), .cache = &cache};
  model.last_logits(tape, context, exec.from_host(std::span<const int32_t>(prompt), {batch * prompt_length}));
  DecodeStep step(model, cache, std::vector<int32_t>(static_cast<size_t>(batch), 0), exec);
  std::vector<double> all;
  for (int s = 0; s < steps; ++s) {
    const std::vector<int32_t> ids(static_cast<size_t>(batch),
                                   static_cast<int32_t>((7 * s + 5) % model.vocab_size()));
    const std::vector<double> logits = to_vector<double>(step.run(ids));
    all.insert(all.end(), logits.begin(), logits.begin() + model.vocab_size());
  }
  return all;
}

double relative_error(const std::vector<double>& x, const std::vector<double>& reference) {
  double difference = 0, square = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    difference += (x[i] - reference[i]) * (x[i] - reference[i]);
    square += reference[i] * reference[i];
  }
  return std::sqrt(difference / square);
}

class CudaDecodeStack : public ::testing::TestWithParam<Case> {};

// The same rounded weights in bf16 on the GPU and in f32 on the CPU.
struct Models {
  explicit Models(const GptConfig& c) : model(c, gpu), reference(c, cpu, DType::kF32) {
    model.parameters().initialize(gpu);
    for (size_t i = 0; i < model.parameters().parameters().size(); ++i) {
      const Tensor& from = model.parameters().parameters()[i]->data;
      const Tensor& to = reference.parameters().parameters()[i]->data;
      const std::vector<double> values = to_vector<double>(from);
      const std::vector<float> rounded(values.begin(), values.end());
      copy(cpu.from_host(std::span<const float>(rounded), to.shape()), to, cpu);
    }
  }
  Exec gpu{{.device = {DeviceKind::kCuda, 0}}}, cpu{ExecOptions{}};
  GptModel model, reference;
};

constexpr int kSteps = 5;

// It knows no sinks, which would show here.
TEST(CudaDecodeSinks, LeavesSinksToTheLayersOneByOne) {
  GptConfig c = config({256, 4, 2, 64, 512, 2, 1, 300});
  c.softmax_type = "off-by-one";
  Models m(c);
  const std::vector<double> exact = decode(m.reference, 1, 1, kSteps, m.cpu);
  EXPECT_LT(relative_error(decode(m.model, 1, 1, kSteps, m.gpu), exact),
            1.5 * relative_error(decode(m.model, 2, 1, kSteps, m.gpu), exact));
}

TEST_P(CudaDecodeStack, IsAsNearToF32AsTheLayersOneByOne) {
  const Case& c = GetParam();
  Models m(config(c));
  auto& [gpu, cpu, model, reference] = m;
  const std::vector<double> exact = decode(reference, 1, c.prompt, kSteps, cpu);
  const std::vector<double> in_one = decode(model, 1, c.prompt, kSteps, gpu);
  const std::vector<double> by_layers = decode(model, 2, c.prompt, kSteps, gpu);
  const double error = relative_error(in_one, exact), layers_error = relative_error(by_layers, exact);
  EXPECT_LT(error, 1.3 * layers_error) << "the same roundings, sums in another order";
  EXPECT_GT(layers_error, 0);
  EXPECT_NE(in_one, by_layers) << "the kernel did not run";
  EXPECT_EQ(in_one, decode(model, 1, c.prompt, kSteps, gpu)) << "replays and runs give the same bits";
}

INSTANTIATE_TEST_SUITE_P(Models, CudaDecodeStack,
                         ::testing::Values(Case{.hidden = 256,
                                                .heads = 4,
                                                .groups = 2,
                                                .head_dim = 64,
                                                .ffn = 512,
                                                .layers = 2,
                                                .prompt = 3,
                                                .vocab = 300},
                                           Case{.hidden = 264,
                                                .heads = 3,
                                                .groups = 3,
                                                .head_dim = 64,
                                                .ffn = 392,
                                                .layers = 3,
                                                .prompt = 1,
                                                .vocab = 77},
                                           Case{.hidden = 512,
                                                .heads = 4,
                                                .groups = 1,
                                                .head_dim = 128,
                                                .ffn = 1000,
                                                .layers = 2,
                                                .prompt = 700,
                                                .vocab = 501},
                                           Case{.hidden = 520,
                                                .heads = 6,
                                                .groups = 2,
                                                .head_dim = 128,
                                                .ffn = 640,
                                                .layers = 2,
                                                .prompt = 191,
                                                .vocab = 501},
                                           Case{.hidden = 3000,
                                                .heads = 8,
                                                .groups = 4,
                                                .head_dim = 128,
                                                .ffn = 6008,
                                                .layers = 1,
                                                .prompt = 33,
                                                .vocab = 4001},
                                           Case{.hidden = 256,
                                                .heads = 4,
                                                .groups = 2,
                                                .head_dim = 64,
                                                .ffn = 512,
                                                .layers = 2,
                                                .prompt = 400,
                                                .vocab = 300,
                                                .window = 100}));

}  // namespace
}  // namespace megalith
