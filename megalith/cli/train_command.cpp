#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/log.h"
#include "megalith/base/stop_signal.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/recipe_sections.h"
#include "megalith/config/recipe.h"
#include "megalith/core/choose_device.h"
#include "megalith/tokenizer/tokenizer.h"
#include "megalith/train/trainer.h"

namespace megalith {
namespace {

struct TrainCommandOptions {
  std::string recipe;
  bool print_config = false;
};

void declare_fields(TrainCommandOptions& c, FieldList& f) {
  f.add("recipe", c.recipe,
        {.help = "YAML recipe; flags override it",
         .value_name = "RECIPE.yaml",
         .main = true,
         .positional = true});
  f.add("print_config", c.print_config,
        {.help = "print the effective recipe to stdout and stop", .main = true});
}

void print_summary(const TrainSummary& summary) {
  std::printf("steps %ld to %ld: loss %.4f -> %.4f", summary.first_step, summary.last_step,
              summary.first_loss, summary.last_loss);
  if (summary.first_eval_loss)
    std::printf(", held-out loss %.4f -> %.4f", *summary.first_eval_loss, *summary.last_eval_loss);
  std::printf(", %.0f tokens/s", summary.tokens_per_second);
  if (!summary.metrics.empty()) std::printf(", metrics %s", summary.metrics.c_str());
  if (!summary.checkpoint.empty()) std::printf(", checkpoint %s", summary.checkpoint.c_str());
  std::printf("%s\n", summary.was_interrupted ? " (interrupted)" : "");
}

void run_train(CommandLine& line) {
  TrainCommandOptions command;
  RunConfig config;
  line.add("train command", "Command", command);
  add_recipe_sections(line, config);
  if (!line.parse()) return;

  StopSignal stop;  // before any thread
  std::unique_ptr<Tokenizer> tokenizer;
  if (!config.train.tokenizer_model.empty()) tokenizer = load_tokenizer(config.train.tokenizer_model);
  complete(config, tokenizer ? tokenizer->vocab_size() : 0);
  const std::string yaml = to_yaml(line.options());
  if (command.print_config) {
    std::fputs(yaml.c_str(), stdout);
    return;
  }

  Exec exec({.device = choose_device(config.train.device),
             .num_threads = static_cast<int>(config.train.num_threads),
             .seed = static_cast<uint64_t>(config.data.seed)});
  // Without a tokenizer the last id ends documents, as with Megatron's NullTokenizer.
  const int32_t eod = tokenizer ? tokenizer->eod() : static_cast<int32_t>(config.model.vocab_size - 1);
  const Vocabulary vocabulary{.size = config.model.vocab_size, .eod = eod};
  const Mesh mesh;
  Trainer trainer(config, vocabulary, yaml, mesh, exec);
  const TrainSummary summary = trainer.run(stop);
  log_info("memory by owner at the peak ({}):\n{}",
           human_bytes(static_cast<double>(exec.ledger().peak_bytes())), exec.ledger().report());
  print_summary(summary);
}

}  // namespace

Command train_command() {
  return {
      .name = "train",
      .summary = "Train a language model from a recipe.",
      .examples = {"megalith train recipes/llama-tiny.yaml --data-path corpus_text_document "
                   "--tokenizer-model tokenizer.json --save run",
                   "megalith train recipes/llama-tiny.yaml --mock-data --vocab-size 8192 --train-iters 20"},
      .run = run_train};
}

}  // namespace megalith
