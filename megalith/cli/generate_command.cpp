#include <algorithm>
#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/log.h"
#include "megalith/base/stop_signal.h"
#include "megalith/checkpoint/load_model.h"
#include "megalith/cli/commands.h"
#include "megalith/core/choose_device.h"
#include "megalith/infer/generate.h"

namespace megalith {
namespace {

struct GenerateCommandOptions {
  std::string model;
  std::vector<std::string> prompt;
  std::string prompt_file;
  std::string tokenizer_model;
  int64_t max_new_tokens = 128;
  double temperature = 1;
  int64_t top_k = 0;
  double top_p = 0;
  std::vector<std::string> stop;
  int64_t seed = 42;
  bool echo = true;
  std::string device = "auto";
  int64_t num_threads = 0;
};

void declare_fields(GenerateCommandOptions& c, FieldList& f) {
  f.add("model", c.model,
        {.help = "a run's directory, a checkpoint, or a Hugging Face model",
         .value_name = "DIR",
         .main = true,
         .required = true});
  f.add("prompt", c.prompt,
        {.help = "texts to continue, as one batch; an empty one begins a document",
         .value_name = "TEXT",
         .main = true});
  f.add("prompt_file", c.prompt_file, {.help = "a file with one prompt", .value_name = "FILE", .main = true});
  f.add("tokenizer_model", c.tokenizer_model,
        {.help = "tokenizer.json; default: the model's own", .value_name = "FILE"});
  f.add("max_new_tokens", c.max_new_tokens, {.help = "tokens to add at most", .min = 1, .main = true});
  f.add("temperature", c.temperature,
        {.help = "divides the logits; 0: always the most probable token", .min = 0, .main = true});
  f.add("top_k", c.top_k,
        {.help = "choose among the k most probable tokens; 0: all", .min = 0, .main = true});
  f.add("top_p", c.top_p,
        {.help = "choose among the tokens that reach this probability together; 0: all",
         .min = 0,
         .max = 1,
         .main = true});
  f.add("stop", c.stop, {.help = "end where one of these texts comes", .value_name = "TEXT", .main = true});
  f.add("seed", c.seed, {.help = "of the random choices", .main = true});
  f.add("echo", c.echo, {.help = "print the prompt before what follows it"});
  f.add("device", c.device, {.help = "auto (a GPU where there is one), cpu, cuda, cuda:N"});
  f.add("num_threads", c.num_threads, {.help = "0: OMP_NUM_THREADS or all cores", .min = 0, .max = 1024});
}

void validate(const GenerateCommandOptions& c) {
  if (c.prompt.empty() == c.prompt_file.empty()) throw UsageError("give either --prompt or --prompt-file");
  for (const std::string& text : c.stop)
    if (text.empty()) throw UsageError("stop: a text that ends the generation cannot be empty");
}

// An empty prompt is what a document begins behind: the end of the one before.
std::vector<std::vector<int32_t>> encode(const Tokenizer& tokenizer,
                                         const std::vector<std::string>& prompts) {
  std::vector<std::vector<int32_t>> tokens;
  for (const std::string& prompt : prompts) {
    tokens.push_back(tokenizer.encode(prompt));
    if (!tokens.back().empty()) continue;
    if (tokenizer.eod() < 0)
      throw UsageError(
          "prompt: an empty one needs an end-of-document token, which this tokenizer does not have");
    tokens.back().push_back(tokenizer.eod());
  }
  return tokens;
}

// New tokens that the model has positions for, at most `wanted`.
int64_t new_tokens_that_fit(const std::vector<std::vector<int32_t>>& prompts, int64_t positions,
                            int64_t wanted) {
  if (positions == 0) return wanted;
  int64_t longest = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto length = static_cast<int64_t>(prompts[i].size());
    if (length >= positions)
      throw UsageError(
          fmt::format("prompt {} has {} tokens; the model has {} positions, which leaves none to add", i + 1,
                      length, positions));
    longest = std::max(longest, length);
  }
  if (longest + wanted <= positions) return wanted;
  log_warn("max_new_tokens {}: the model has {} positions, so that {} are added at most", wanted, positions,
           positions - longest);
  return positions - longest;
}

void print(const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

// One sequence streams as it grows; several are printed one after the other at the end.
void print_batch(const std::vector<std::string>& prompts, const std::vector<Generation>& results, bool echo) {
  for (size_t i = 0; i < results.size(); ++i) {
    print(fmt::format("--- {} ({})\n{}{}\n", i + 1, results[i].finish_reason, echo ? prompts[i] : "",
                      results[i].text));
  }
}

void run_generate(CommandLine& line) {
  GenerateCommandOptions options;
  line.add("generate", "Generation", options);
  if (!line.parse()) return;

  StopSignal stop;
  Exec exec({.device = choose_device(options.device), .num_threads = static_cast<int>(options.num_threads)});
  const LoadedModel loaded = load_model(options.model, exec);
  const auto tokenizer_path =
      options.tokenizer_model.empty() ? loaded.tokenizer : std::filesystem::path(options.tokenizer_model);
  MG_CHECK(!tokenizer_path.empty(), "{}: has no tokenizer.json; give --tokenizer-model", options.model);
  const auto tokenizer = load_tokenizer(tokenizer_path);

  std::vector<std::string> prompts = options.prompt;
  if (!options.prompt_file.empty()) prompts.push_back(read_text_file(options.prompt_file));
  const std::vector<std::vector<int32_t>> tokens = encode(*tokenizer, prompts);

  GenerateOptions generate_options{
      .max_new_tokens = new_tokens_that_fit(tokens, loaded.model->max_positions(), options.max_new_tokens),
      .sampling = {.temperature = options.temperature, .top_k = options.top_k, .top_p = options.top_p},
      .stop_strings = options.stop,
      .seed = static_cast<uint64_t>(options.seed),
      .should_stop = [&stop] { return stop.requested(); }};
  const bool is_stream = prompts.size() == 1;
  if (is_stream) {
    if (options.echo) print(prompts[0]);
    generate_options.on_text = [](size_t, const std::string& text) { print(text); };
  }
  const std::vector<Generation> results = generate(*loaded.model, *tokenizer, tokens, generate_options, exec);
  if (is_stream) {
    print("\n");
    log_debug("{} tokens, ended by {}", results[0].tokens.size(), results[0].finish_reason);
  } else {
    print_batch(prompts, results, options.echo);
  }
}

}  // namespace

Command generate_command() {
  return {.name = "generate",
          .summary = "Continue a text with a trained model.",
          .examples = {"megalith generate --model run --prompt 'int main() {' --max-new-tokens 64 "
                       "--temperature 0.8 --top-k 40"},
          .run = run_generate};
}

}  // namespace megalith
