#include <algorithm>
#include <chrono>
#include <cstdio>
#include <future>

#include "megalith/base/error.h"
#include "megalith/base/log.h"
#include "megalith/base/stop_signal.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/launch_options.h"
#include "megalith/cli/recipe_sections.h"
#include "megalith/cli/same_recipe.h"
#include "megalith/comm/host_numbers.h"
#include "megalith/config/recipe.h"
#include "megalith/core/memory/activation_arena.h"
#include "megalith/core/memory/out_of_memory.h"
#include "megalith/parallel/process_advice.h"
#include "megalith/plan/largest_batch.h"
#include "megalith/tokenizer/tokenizer.h"
#include "megalith/train/trainer.h"

namespace megalith {
namespace {

struct TrainCommandOptions {
  std::string recipe;
  LaunchOptions launch;
  bool print_config = false;
};

void declare_fields(TrainCommandOptions& c, FieldList& f) {
  f.add("recipe", c.recipe,
        {.help = "YAML recipe; flags override it",
         .value_name = "RECIPE.yaml",
         .main = true,
         .positional = true});
  f.add("ranks", c.launch.ranks,
        {.help = "rank threads of each process; --help-all: their layout",
         .min = 1,
         .max = 1024,
         .main = true});
  f.add("gpus", c.launch.gpus,
        {.help = "GPUs of each process, a rank each", .min = 1, .max = 1024, .main = true});
  f.add("rank_timeout", c.launch.rank_timeout,
        {.help = "seconds that a rank waits for its peers before all fail; 0: for ever", .min = 0});
  f.add("print_config", c.print_config,
        {.help = "print the effective recipe to stdout and stop", .main = true});
}

void print_summary(const TrainSummary& summary) {
  if (summary.last_step < summary.first_step) {
    std::printf("no step was trained: the run stands at step %ld%s\n", summary.last_step,
                summary.was_interrupted ? " (interrupted)" : ", all that train_iters asks for");
    return;
  }
  std::printf("steps %ld to %ld: loss %.4f -> %.4f", summary.first_step, summary.last_step,
              summary.first_loss, summary.last_loss);
  if (summary.first_eval_loss)
    std::printf(", held-out loss %.4f -> %.4f", *summary.first_eval_loss, *summary.last_eval_loss);
  std::printf(", %.0f tokens/s", summary.tokens_per_second);
  if (!summary.metrics.empty()) std::printf(", metrics %s", summary.metrics.c_str());
  if (!summary.checkpoint.empty()) std::printf(", checkpoint %s", summary.checkpoint.c_str());
  std::printf("%s\n", summary.was_interrupted ? " (interrupted)" : "");
}

// Rank threads get no signals: the main thread takes them while the ranks work.
void run_beside(StopSignal& stop, const std::function<void()>& work) {
  std::future<void> done = std::async(std::launch::async, work);
  while (done.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready) stop.requested();
  done.get();
}

// Collective. What the ranks held at their peaks.
void report_memory(Communicator& host, Exec& exec) {
  HostNumbers numbers;
  const int64_t own = exec.ledger().peak_bytes();
  const std::vector<int64_t> peaks = numbers.gather(host, {&own, 1});
  if (host.rank() != 0) return;
  const auto largest = std::max_element(peaks.begin(), peaks.end());
  const std::string others =
      peaks.size() == 1 ? ""
                        : fmt::format(" of rank 0; rank {} has the most, {}", largest - peaks.begin(),
                                      human_bytes(static_cast<double>(*largest)));
  log_info("memory by owner at the peak ({}){}:\n{}", human_bytes(static_cast<double>(own)), others,
           exec.ledger().report());
  if (const ActivationArena* arena = exec.pool().arena())
    log_info("activation arena{}:\n{}", peaks.size() == 1 ? "" : " of rank 0", arena->report());
}

// Says in the error what would fit.
TrainSummary run_or_advise(Trainer& trainer, StopSignal& stop, const RunConfig& config, int num_ranks,
                           Exec& exec) {
  try {
    return trainer.run(stop);
  } catch (const OutOfMemory& error) {
    fail("{}{}", error.what(),
         batch_advice(config, num_ranks,
                      {.limit_bytes = error.bytes().limit,
                       .wanted_bytes = exec.ledger().peak_bytes() + error.bytes().asked}));
  }
}

void run_train(CommandLine& line) {
  TrainCommandOptions command;
  RunConfig config;
  line.add("train command", "Command", command);
  add_recipe_sections(line, config);
  if (!line.parse()) return;

  const Launch launch = launch_of(command.launch);
  StopSignal stop(/*is_heeded=*/false);  // before any thread
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
  check_layout(config, launch.num_ranks);
  if (!launch.is_first_process()) set_log_level(LogLevel::kError);
  const std::chrono::milliseconds timeout = std::chrono::seconds(command.launch.rank_timeout);
  const auto train_rank = [&](const LaunchedRank& place) {
    if (launch.kind != LaunchKind::kThreads) check_same_recipe(place.host, yaml);
    Exec exec({.device = device_of_rank(command.launch, config.train.device, launch, place.local_rank),
               .num_threads = threads_of_rank(launch, static_cast<int>(config.train.num_threads)),
               .seed = static_cast<uint64_t>(config.data.seed)});
    const RankWorld world(place.host, exec, {.timeout = timeout});
    world.run([&](Communicator& comm) {
      const Mesh mesh(comm, config.parallel);
      if (const std::string advice = process_advice(mesh);
          exec.device().is_cuda() && place.host.rank() == 0 && !advice.empty())
        log_warn("{}", advice);
      Trainer trainer(config, vocabulary, yaml, mesh, exec);
      const TrainSummary summary = run_or_advise(trainer, stop, config, launch.num_ranks, exec);
      report_memory(place.host, exec);
      if (place.host.rank() == 0) print_summary(summary);
    });
  };
  const auto named_rank = [&](const LaunchedRank& place) {
    try {
      train_rank(place);
    } catch (const UsageError&) {
      throw;
    } catch (const PeerFailure&) {
      throw;
    } catch (const std::exception& error) {
      const std::string message = error.what();
      if (launch.num_ranks == 1 || message.starts_with("rank ")) throw;
      fail("rank {}: {}", place.host.rank(), message);
    }
  };
  const auto train = [&] { run_launched(launch, timeout, named_rank); };
  if (launch.num_threads > 1)
    run_beside(stop, train);
  else
    train();
}

}  // namespace

Command train_command() {
  return {.name = "train",
          .summary = "Train a language model from a recipe.",
          .examples = {"megalith train recipes/llama-tiny.yaml --data-path corpus_text_document "
                       "--tokenizer-model tokenizer.json --save run",
                       "megalith train recipes/llama-tiny.yaml --mock-data --vocab-size 8192 --ranks 4 "
                       "--tensor-model-parallel-size 2",
                       "mpirun -np 4 megalith train recipes/llama-tiny.yaml --mock-data --vocab-size 8192"},
          .run = run_train};
}

}  // namespace megalith
