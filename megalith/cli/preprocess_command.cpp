#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/log.h"
#include "megalith/base/stop_signal.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/data/preprocess.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {
namespace {

struct TokenizerChoice {
  std::string tokenizer_model;
};

void declare_fields(TokenizerChoice& c, FieldList& f) {
  f.add("tokenizer_model", c.tokenizer_model,
        {.help = "tokenizer.json, or the directory that holds it", .value_name = "PATH", .required = true});
}

void run_preprocess(CommandLine& line) {
  PreprocessOptions options;
  TokenizerChoice choice;
  line.add("preprocess", "Preprocess", options);
  line.add("tokenizer", "Tokenizer", choice);
  if (!line.parse()) return;
  StopSignal stop;  // before any thread
  const auto tokenizer = load_tokenizer(choice.tokenizer_model);
  const PreprocessResult result = preprocess(options, *tokenizer, [&] { return stop.requested(); });
  MG_CHECK(!result.stopped, "{}: stopped before the end; nothing was written", options.output_prefix);
  log_info("{} documents, {} tokens from {} in {}", result.documents,
           human_count(static_cast<double>(result.tokens)), human_bytes(static_cast<double>(result.bytes)),
           human_duration(result.seconds));
  if (result.bad > 0) log_warn("{} malformed lines or unreadable files were skipped", result.bad);
  for (const std::string& prefix : result.prefixes) std::printf("%s\n", prefix.c_str());
}

}  // namespace

Command preprocess_command() {
  return {.name = "preprocess",
          .summary =
              "Tokenize text, JSON lines or directories into Megatron's .bin/.idx pair; prints its prefix.",
          .examples = {"megalith preprocess src/ --extensions .h .cpp --tokenizer-model tokenizer.json "
                       "--output-prefix data/code --append-eod",
                       "megalith preprocess web.jsonl --json-keys text --tokenizer-model tokenizer.json "
                       "--output-prefix data/web"},
          .run = run_preprocess};
}

}  // namespace megalith
