#include <algorithm>
#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/log.h"
#include "megalith/base/parallel.h"
#include "megalith/base/stop_signal.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/recipe_sections.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/config/recipe.h"
#include "megalith/core/choose_device.h"
#include "megalith/tokenizer/tokenizer.h"
#include "megalith/train/trainer.h"

namespace megalith {
namespace {

struct TrainCommandOptions {
  std::string recipe;
  int64_t ranks = 1;
  bool print_config = false;
};

void declare_fields(TrainCommandOptions& c, FieldList& f) {
  f.add("recipe", c.recipe,
        {.help = "YAML recipe; flags override it",
         .value_name = "RECIPE.yaml",
         .main = true,
         .positional = true});
  f.add("ranks", c.ranks,
        {.help = "rank threads; --help-all: their layout", .min = 1, .max = 1024, .main = true});
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

// Rank threads share the cores.
ExecOptions exec_options(const RunConfig& config, int num_ranks) {
  ExecOptions options{.device = choose_device(config.train.device),
                      .num_threads = static_cast<int>(config.train.num_threads),
                      .seed = static_cast<uint64_t>(config.data.seed)};
  if (num_ranks > 1) {
    if (options.device.is_cuda())
      throw UsageError("--ranks: several GPUs are not supported yet; --device cpu runs the ranks on the CPU");
    const int cores = options.num_threads > 0 ? options.num_threads : hardware_threads();
    options.num_threads = std::max(1, cores / num_ranks);
  }
  return options;
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

  // Without a tokenizer the last id ends documents, as with Megatron's NullTokenizer.
  const int32_t eod = tokenizer ? tokenizer->eod() : static_cast<int32_t>(config.model.vocab_size - 1);
  const Vocabulary vocabulary{.size = config.model.vocab_size, .eod = eod};
  check_layout(config, static_cast<int>(command.ranks));
  const auto train_rank = [&](Communicator& world) {
    Exec exec(exec_options(config, world.size()));
    const Mesh mesh(world, config.parallel);
    Trainer trainer(config, vocabulary, yaml, mesh, exec);
    const TrainSummary summary = trainer.run(stop);
    if (world.rank() != 0) return;
    log_info("memory by owner at the peak{} ({}):\n{}", world.size() > 1 ? " of rank 0" : "",
             human_bytes(static_cast<double>(exec.ledger().peak_bytes())), exec.ledger().report());
    print_summary(summary);
  };
  if (command.ranks == 1) return train_rank(*make_self_communicator());
  run_ranks(static_cast<int>(command.ranks), train_rank);
}

}  // namespace

Command train_command() {
  return {
      .name = "train",
      .summary = "Train a language model from a recipe.",
      .examples = {"megalith train recipes/llama-tiny.yaml --data-path corpus_text_document "
                   "--tokenizer-model tokenizer.json --save run",
                   "megalith train recipes/llama-tiny.yaml --mock-data --vocab-size 8192 --train-iters 20",
                   "megalith train recipes/llama-tiny.yaml --mock-data --vocab-size 8192 --ranks 4 "
                   "--tensor-model-parallel-size 2"},
      .run = run_train};
}

}  // namespace megalith
