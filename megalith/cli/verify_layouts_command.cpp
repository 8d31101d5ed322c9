#include <algorithm>
#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/parallel.h"
#include "megalith/base/progress.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/recipe_sections.h"
#include "megalith/core/choose_device.h"
#include "megalith/tokenizer/tokenizer.h"
#include "megalith/train/shrink.h"
#include "megalith/train/verify_layouts.h"

namespace megalith {
namespace {

struct VerifyCommandOptions {
  std::string recipe;
  int64_t ranks = 8;
  int64_t steps = 3;
  int64_t layouts = 0;
  bool shrink = false;
};

void declare_fields(VerifyCommandOptions& c, FieldList& f) {
  f.add("recipe", c.recipe,
        {.help = "YAML recipe; flags override it",
         .value_name = "RECIPE.yaml",
         .main = true,
         .positional = true});
  f.add("ranks", c.ranks, {.help = "rank threads of a layout", .min = 2, .max = 32, .main = true});
  f.add("shrink", c.shrink, {.help = "the recipe's scaled-down twin", .main = true});
  f.add("layouts", c.layouts, {.help = "only the first so many; 0: all", .min = 0, .main = true});
  f.add("steps", c.steps, {.help = "optimizer steps on each layout", .min = 1, .max = 100, .main = true});
}

// Ranks of a CPU are threads, as many as one likes; a GPU each is for who asks for it.
DeviceKind device_of(const RunConfig& config) {
  return config.train.device == "auto" ? DeviceKind::kCpu : choose_device(config.train.device).kind;
}

std::string line_of(const LayoutVerdict& verdict) {
  if (!verdict.deviation)
    return fmt::format("{}: {}", verdict.has_failed ? "FAILED" : "cannot run", verdict.reason);
  const LayoutDeviation& deviation = *verdict.deviation;
  return fmt::format("worst deviation {:.2e}, allowed {:.2e}, {}", deviation.worst, deviation.allowed,
                     verdict.has_failed ? "FAILED: " + deviation.where : "ok");
}

void run_verify_layouts(CommandLine& line) {
  VerifyCommandOptions command;
  RunConfig config;
  line.add("verify-layouts command", "Command", command);
  add_recipe_sections(line, config);
  if (!line.parse()) return;
  const auto ranks = static_cast<int>(command.ranks);
  Vocabulary vocabulary;
  if (command.shrink) {
    config.train.tokenizer_model.clear();
    config = shrink(config, ranks);
  }
  const bool has_tokenizer = !config.train.tokenizer_model.empty();
  const auto tokenizer =
      has_tokenizer ? load_tokenizer(config.train.tokenizer_model) : std::unique_ptr<Tokenizer>();
  complete(config, has_tokenizer ? tokenizer->vocab_size() : 0);
  vocabulary.size = config.model.vocab_size;
  vocabulary.eod = has_tokenizer ? tokenizer->eod() : static_cast<int32_t>(config.model.vocab_size - 1);

  std::optional<Progress> progress;
  int64_t num_done = 0, num_compared = 0, num_failed = 0;
  double worst = 0;
  verify_layouts(config, vocabulary,
                 {.num_ranks = ranks,
                  .num_steps = static_cast<int>(command.steps),
                  .max_layouts = command.layouts,
                  .num_threads = std::max(1, hardware_threads() / ranks),
                  .device = device_of(config)},
                 [&](const LayoutVerdict& verdict, int64_t of) {
                   if (!progress)
                     progress.emplace(Progress::Options{
                         .title = "verify-layouts", .total = of, .start = 0, .unit = "layouts"});
                   progress->clear();
                   std::printf("layout %s: %s\n", verdict.name.c_str(), line_of(verdict).c_str());
                   std::fflush(stdout);
                   if (verdict.has_failed) ++num_failed;
                   if (verdict.deviation) {
                     ++num_compared;
                     worst = std::max(worst, verdict.deviation->share());
                   }
                   progress->update(++num_done);
                 });
  progress->clear();
  std::printf("verify-layouts: %ld layouts, worst %.3g of allowed\n", num_compared, worst);
  if (num_failed > 0) fail("{} of {} layouts do not compute what one rank computes", num_failed, num_done);
  if (num_compared == 0) fail("no layout of {} ranks fits the recipe", ranks);
}

}  // namespace

Command verify_layouts_command() {
  return {.name = "verify-layouts",
          .summary =
              "Train a few steps on every layout of ranks and hold losses and gradients to one rank's: "
              "what to run before a large job.",
          .examples = {"megalith verify-layouts recipes/moe-tiny.yaml --shrink",
                       "megalith verify-layouts recipes/qwen3-30b-a3b.yaml --ranks 4 --shrink --layouts 20"},
          .run = run_verify_layouts};
}

}  // namespace megalith
