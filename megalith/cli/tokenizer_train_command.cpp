#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/log.h"
#include "megalith/base/stop_signal.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/data/input_files.h"
#include "megalith/tokenizer/bpe_trainer.h"

namespace megalith {
namespace {

struct TokenizerTrainOptions {
  std::vector<std::string> input;
  std::string output = "tokenizer.json";
  int64_t vocab_size = 32768;
  std::vector<std::string> extensions;
  std::vector<std::string> special_tokens = {"<|endoftext|>"};
  int64_t min_frequency = 2;
  int64_t max_bytes = 0;
  int64_t num_threads = 0;
};

void declare_fields(TokenizerTrainOptions& c, FieldList& f) {
  f.add("input", c.input,
        {.help = "text files, or directories of them", .positional = true, .required = true});
  f.add("output", c.output, {.help = "where to write", .value_name = "FILE", .main = true});
  f.add("vocab_size", c.vocab_size,
        {.help = "number of tokens, special ones included", .min = 257, .main = true});
  f.add("extensions", c.extensions,
        {.help = "files to take from directories, such as .h .cpp; all when left out", .main = true});
  f.add("special_tokens", c.special_tokens,
        {.help = "tokens that no text contains; the first ends a document", .main = true});
  f.add("min_frequency", c.min_frequency, {.help = "a pair that occurs less often is not merged", .min = 1});
  f.add("max_bytes", c.max_bytes, {.help = "text to learn from; 0 for all", .min = 0, .main = true});
  f.add("num_threads", c.num_threads, {.help = "0 for all cores", .min = 0, .max = 1024, .main = true});
}

void run_tokenizer_train(CommandLine& line) {
  TokenizerTrainOptions options;
  line.add("tokenizer_train", "Training of a tokenizer", options);
  if (!line.parse()) return;
  StopSignal stop;
  const std::vector<std::filesystem::path> files = input_files(options.input, options.extensions);
  const BpeTrainResult result = train_bpe({.vocab_size = options.vocab_size,
                                           .special_tokens = options.special_tokens,
                                           .min_frequency = options.min_frequency,
                                           .max_bytes = options.max_bytes,
                                           .num_threads = static_cast<int>(options.num_threads),
                                           .should_stop = [&] { return stop.requested(); }},
                                          files, options.output);
  MG_CHECK(!result.is_stopped, "{}: stopped before the end; nothing was written", options.output);
  const auto num_tokens = static_cast<int64_t>(result.model.tokens.size());
  if (num_tokens < options.vocab_size)
    log_warn(
        "the vocabulary has {} tokens of the {} asked for: the text holds no more pairs that occur {} "
        "times (min_frequency)",
        num_tokens, options.vocab_size, options.min_frequency);
  log_info("learned from {} of text in {} files: counted in {}, merged in {}",
           human_bytes(static_cast<double>(result.num_bytes)), files.size(), human_duration(result.count_s),
           human_duration(result.merge_s));
  std::printf("%s\n", options.output.c_str());
}

}  // namespace

Command tokenizer_train_command() {
  return {
      .name = "tokenizer train",
      .summary = "Train a byte-level BPE tokenizer on text; writes a Hugging Face tokenizer.json.",
      .examples =
          {"megalith tokenizer train src/ --extensions .h .cpp --vocab-size 8192 --output tokenizer.json"},
      .run = run_tokenizer_train};
}

}  // namespace megalith
