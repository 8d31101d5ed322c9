#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "megalith/base/error.h"
#include "megalith/base/progress.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/launch_options.h"
#include "megalith/cli/recipe_sections.h"
#include "megalith/cli/same_recipe.h"
#include "megalith/comm/launch.h"
#include "megalith/config/recipe.h"
#include "megalith/core/choose_device.h"
#include "megalith/tokenizer/tokenizer.h"
#include "megalith/train/shrink.h"
#include "megalith/train/verify_layouts.h"

namespace megalith {
namespace {

struct VerifyCommandOptions {
  std::string recipe;
  std::optional<int64_t> ranks;
  int64_t gpus = 1;
  int64_t rank_timeout = 600;
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
  f.add("ranks", c.ranks,
        {.help = "rank threads of a process [8; launched: 1]", .min = 1, .max = 32, .main = true});
  f.add("gpus", c.gpus, {.help = "GPUs of each process, a rank each", .min = 1, .max = 32, .main = true});
  f.add("rank_timeout", c.rank_timeout,
        {.help = "seconds that a rank of a launcher waits for its peers; 0: for ever", .min = 0});
  f.add("shrink", c.shrink, {.help = "the recipe's scaled-down twin", .main = true});
  f.add("layouts", c.layouts, {.help = "only the first so many; 0: all", .min = 0, .main = true});
  f.add("steps", c.steps, {.help = "optimizer steps on each layout", .min = 1, .max = 100, .main = true});
}

LaunchOptions launch_options_of(const VerifyCommandOptions& command) {
  const bool is_alone = command.gpus == 1 && find_launch(1).kind == LaunchKind::kThreads;
  return {.ranks = command.ranks.value_or(is_alone ? 8 : 1),
          .gpus = command.gpus,
          .rank_timeout = command.rank_timeout};
}

// Ranks are of the CPU, as many as one likes, but for who asks for GPUs.
std::string device_name(const VerifyCommandOptions& command, const RunConfig& config) {
  if (config.train.device != "auto") return config.train.device;
  return command.gpus > 1 ? "cuda" : "cpu";
}

std::string line_of(const LayoutVerdict& verdict) {
  if (!verdict.deviation)
    return fmt::format("{}: {}", verdict.has_failed ? "FAILED" : "cannot run", verdict.reason);
  const LayoutDeviation& deviation = *verdict.deviation;
  return fmt::format("worst deviation {:.2e}, allowed {:.2e}, {}", deviation.worst, deviation.allowed,
                     verdict.has_failed ? "FAILED: " + deviation.where : "ok");
}

// A line for each verdict as it comes, and one for all of them.
class VerdictReport {
 public:
  void add(const LayoutVerdict& verdict, int64_t of) {
    if (!progress_)
      progress_.emplace(
          Progress::Options{.title = "verify-layouts", .total = of, .start = 0, .unit = "layouts"});
    progress_->clear();
    std::printf("layout %s: %s\n", verdict.name.c_str(), line_of(verdict).c_str());
    std::fflush(stdout);
    if (verdict.has_failed) ++num_failed_;
    if (verdict.deviation) {
      ++num_compared_;
      worst_ = std::max(worst_, verdict.deviation->share());
    }
    progress_->update(++num_done_);
  }
  /// Throws Error where a layout failed, or none ran.
  void finish(int num_ranks) {
    if (progress_) progress_->clear();
    std::printf("verify-layouts: %ld layouts, worst %.3g of allowed\n", num_compared_, worst_);
    std::fflush(stdout);
    if (num_failed_ > 0)
      fail("{} of {} layouts do not compute what one rank computes", num_failed_, num_done_);
    if (num_compared_ == 0) fail("no layout of {} ranks fits the recipe", num_ranks);
  }

 private:
  std::optional<Progress> progress_;
  int64_t num_done_ = 0, num_compared_ = 0, num_failed_ = 0;
  double worst_ = 0;
};

void run_verify_layouts(CommandLine& line) {
  VerifyCommandOptions command;
  RunConfig config;
  line.add("verify-layouts command", "Command", command);
  add_recipe_sections(line, config);
  if (!line.parse()) return;
  const LaunchOptions of_process = launch_options_of(command);
  const Launch launch = launch_of(of_process);
  if (launch.num_ranks == 1) throw UsageError("one rank has one layout: --ranks or --gpus says how many");
  const std::string yaml = to_yaml(line.options()), device = device_name(command, config);
  Vocabulary vocabulary;
  if (command.shrink) {
    config.train.tokenizer_model.clear();
    config = shrink(config, launch.num_ranks);
  }
  const bool has_tokenizer = !config.train.tokenizer_model.empty();
  const auto tokenizer =
      has_tokenizer ? load_tokenizer(config.train.tokenizer_model) : std::unique_ptr<Tokenizer>();
  complete(config, has_tokenizer ? tokenizer->vocab_size() : 0);
  vocabulary.size = config.model.vocab_size;
  vocabulary.eod = has_tokenizer ? tokenizer->eod() : static_cast<int32_t>(config.model.vocab_size - 1);

  const LayoutVerifier verifier(config, vocabulary,
                                {.num_ranks = launch.num_ranks,
                                 .num_steps = static_cast<int>(command.steps),
                                 .max_layouts = command.layouts,
                                 .num_threads = threads_of_rank(launch, 0),
                                 .device = choose_device(device).kind});
  VerdictReport verdicts;
  const auto report = [&](const LayoutVerdict& verdict, int64_t of) { verdicts.add(verdict, of); };
  if (launch.kind == LaunchKind::kThreads) {
    verifier.run(report);
    return verdicts.finish(launch.num_ranks);
  }
  run_launched(launch, std::chrono::seconds(command.rank_timeout), [&](const LaunchedRank& place) {
    check_same_recipe(place.host, yaml);
    verifier.run(place.host, device_of_rank(of_process, device, launch, place.local_rank), report);
    if (place.host.rank() == 0) verdicts.finish(launch.num_ranks);
  });
}

}  // namespace

Command verify_layouts_command() {
  return {.name = "verify-layouts",
          .summary =
              "Train a few steps on every layout of ranks and hold losses and gradients to one rank's: "
              "what to run before a large job.",
          .examples = {"megalith verify-layouts recipes/moe-tiny.yaml --shrink",
                       "mpirun -np 4 megalith verify-layouts recipes/llama3-8b.yaml --shrink",
                       "megalith verify-layouts recipes/qwen3-30b-a3b.yaml --ranks 4 --shrink --layouts 20"},
          .run = run_verify_layouts};
}

}  // namespace megalith
