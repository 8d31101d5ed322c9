#include <chrono>
#include <cstdio>

#include "megalith/cli/bench_rows.h"
#include "megalith/cli/commands.h"
#include "megalith/core/choose_device.h"
#include "megalith/infer/decode_step.h"
#include "megalith/models/gpt/gpt_model.h"
#include "megalith/models/positions.h"

namespace megalith {
namespace {

struct BenchDecodeOptions {
  int64_t num_layers = 16;
  int64_t hidden_size = 2048;
  int64_t num_attention_heads = 16;
  int64_t num_query_groups = 8;
  int64_t ffn_hidden_size = 8192;
  int64_t vocab_size = 32000;
  int64_t batch = 1;
  int64_t prompt_length = 512;
  int64_t new_tokens = 256;
  SamplingOptions sampling = {.temperature = 0};
};

void declare_fields(BenchDecodeOptions& c, FieldList& f) {
  f.add("num_layers", c.num_layers, {.help = "layers", .min = 1, .main = true});
  f.add("hidden_size", c.hidden_size, {.help = "width", .min = 1, .main = true});
  f.add("num_attention_heads", c.num_attention_heads, {.help = "query heads", .min = 1});
  f.add("num_query_groups", c.num_query_groups, {.help = "key and value heads", .min = 1});
  f.add("ffn_hidden_size", c.ffn_hidden_size, {.help = "width of the MLP", .min = 1});
  f.add("vocab_size", c.vocab_size, {.help = "tokens of the vocabulary", .min = 2});
  f.add("batch", c.batch, {.help = "sequences", .min = 1, .main = true});
  f.add("prompt_length", c.prompt_length, {.help = "tokens of each prompt", .min = 1, .main = true});
  f.add("new_tokens", c.new_tokens, {.help = "tokens that are timed", .min = 1, .main = true});
  f.add("temperature", c.sampling.temperature, {.help = "divides the logits; 0: greedy", .min = 0});
  f.add("top_k", c.sampling.top_k, {.help = "largest logits that stay; 0: all", .min = 0});
  f.add("top_p", c.sampling.top_p, {.help = "probability that stays; 0: all", .min = 0, .max = 1});
}

GptConfig model_config(const BenchDecodeOptions& o, DType dtype) {
  GptConfig c;
  c.num_layers = o.num_layers;
  c.hidden_size = o.hidden_size;
  c.num_attention_heads = o.num_attention_heads;
  c.num_query_groups = o.num_query_groups;
  c.ffn_hidden_size = o.ffn_hidden_size;
  c.vocab_size = o.vocab_size;
  c.max_position_embeddings = o.prompt_length + o.new_tokens + 8;
  c.position_embedding_type = "rope";
  c.normalization = "RMSNorm";
  c.swiglu = true;
  c.add_bias_linear = false;
  c.untie_embeddings_and_output_weights = true;
  c.bf16 = dtype == DType::kBF16;
  return c;
}

// Weights but for the embedding table, and half-way through the keys and values.
double bytes_of_a_token(const BenchDecodeOptions& o, const GptModel& model, int64_t num_parameters) {
  const auto item = static_cast<double>(size_of(model.config().dtype()));
  const int64_t weights = num_parameters - model.config().padded_vocab_size() * o.hidden_size;
  const int64_t keys = 2 * o.num_layers * o.batch * (o.prompt_length + o.new_tokens / 2) *
                       o.num_query_groups * model.config().head_dim();
  return item * static_cast<double>(weights + keys);
}

// Without the host's part: choosing the token and handing it back.
double seconds_of_replays(DecodeStep& step) {
  constexpr int kCalls = 50;
  step.synchronize();
  const auto begin = std::chrono::steady_clock::now();
  for (int i = 0; i < kCalls; ++i) step.run_again();
  step.synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / kCalls;
}

void run_bench_decode(CommandLine& line) {
  BenchDecodeOptions o;
  BenchOptions options;
  line.add("decode", "Decoding", o);
  line.add("bench", "Bench", options);
  if (!line.parse()) return;
  Exec exec({.device = choose_device(options.device), .num_threads = static_cast<int>(options.num_threads)});
  const DType dtype = parse_dtype(options.dtype);
  const Ceilings ceilings = measure_ceilings(dtype, exec);
  GptModel model(model_config(o, dtype), exec);
  model.parameters().initialize(exec);

  constexpr int64_t kWarmUp = 4;
  KvCache cache = model.make_cache(o.batch, o.prompt_length + o.new_tokens + kWarmUp, exec);
  std::vector<int32_t> prompt(static_cast<size_t>(o.batch * o.prompt_length));
  for (size_t i = 0; i < prompt.size(); ++i)
    prompt[i] = static_cast<int32_t>(exec.rng().bits(i) % static_cast<uint32_t>(o.vocab_size));
  Tape tape(exec, {.is_recording = false, .recompute = {}});
  const ForwardContext context{.batch = o.batch,
                               .positions = sequence_positions(o.batch, o.prompt_length, exec),
                               .first_key = {},
                               .rng = {},
                               .cache = &cache};
  model.last_logits(tape, context,
                    exec.from_host(std::span<const int32_t>(prompt), {o.batch * o.prompt_length}));

  const auto batch = static_cast<size_t>(o.batch);
  DecodeStep step(model, cache, std::vector<int32_t>(batch, 0), exec, o.sampling);
  std::vector<int32_t> next(batch, 1);
  std::vector<uint32_t> words(batch);
  uint64_t draws = 0;
  const auto one_token = [&] {
    for (uint32_t& word : words) word = exec.rng().fold("words").bits(draws++);
    step.run(next, words);
    next = step.tokens();
  };
  for (int64_t i = 0; i < kWarmUp; ++i) one_token();
  const auto begin = std::chrono::steady_clock::now();
  for (int64_t i = 0; i < o.new_tokens; ++i) one_token();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() /
                         static_cast<double>(o.new_tokens);
  const double device_seconds = seconds_of_replays(step);
  const int64_t parameters = model.parameters().num_elements();
  const double bytes = bytes_of_a_token(o, model, parameters);
  const double bound = bytes / ceilings.copy_bytes;
  std::printf(
      "%.2f G parameters, %s, batch %ld: %.3f ms a token, %.0f tokens/s; the step alone %.3f ms; reading "
      "%.2f GB at "
      "%.0f GB/s takes %.3f ms: %.0f %% of the bound, the step alone %.0f %%\n",
      static_cast<double>(parameters) * 1e-9, name_of(dtype), o.batch, seconds * 1e3,
      static_cast<double>(o.batch) / seconds, device_seconds * 1e3, bytes * 1e-9, ceilings.copy_bytes * 1e-9,
      bound * 1e3, 100 * bound / seconds, 100 * bound / device_seconds);
}

}  // namespace

Command bench_decode_command() {
  return {.name = "bench decode",
          .summary = "Time generation token by token, beside the time to read the weights.",
          .examples = {"megalith bench decode --device cuda",
                       "megalith bench decode --num-layers 2 --hidden-size 256 --batch 4"},
          .run = run_bench_decode};
}

}  // namespace megalith
