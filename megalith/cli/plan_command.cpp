#include <cstdio>

#include "megalith/base/progress.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/plan_schedule.h"
#include "megalith/cli/plan_world.h"
#include "megalith/cli/recipe_sections.h"
#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/parallel/stage_layout.h"
#include "megalith/tokenizer/tokenizer.h"

namespace megalith {
namespace {

struct PlanOptions {
  std::string recipe;
  std::string schedule;
  int64_t num_microbatches = 0;
  std::string out;
  int64_t world = 0;
  std::string cluster = "h200x8";
  int64_t best = 10;
};

void declare_fields(PlanOptions& c, FieldList& f) {
  f.add("recipe", c.recipe,
        {.help = "YAML recipe; flags override it",
         .value_name = "RECIPE.yaml",
         .main = true,
         .positional = true});
  f.add("schedule", c.schedule,
        {.help = "pipeline schedule to run on paper", .value_name = "NAME", .main = true});
  f.add("num_microbatches", c.num_microbatches, {.help = "of the schedule; 0: the recipe's", .min = 0});
  f.add("out", c.out, {.help = "draw the schedule: .svg or .png", .value_name = "FILE", .main = true});
  f.add("world", c.world, {.help = "GPUs of a cluster to run layouts on paper", .min = 0, .main = true});
  f.add("cluster", c.cluster,
        {.help = "its name, or a YAML file of rates", .value_name = "NAME", .main = true});
  f.add("best", c.best, {.help = "with --world: list so many of the best layouts", .min = 0});
}

void print_row(const char* name, const std::string& value, const std::string& detail = {}) {
  std::printf("  %-22s %12s  %s\n", name, value.c_str(), detail.c_str());
}

void print_parameters(const GptConfig& model) {
  const GptParameterCount count = count_gpt_parameters(model);
  const auto row = [&](const char* name, int64_t parameters) {
    const double share = 100.0 * static_cast<double>(parameters) / static_cast<double>(count.total());
    print_row(name, human_count(static_cast<double>(parameters)),
              fmt::format("{:5.1f} %  {}", share, parameters));
  };
  std::printf("parameters\n");
  row("embedding", count.embedding);
  row("attention", count.attention);
  row("mlp", count.mlp);
  if (count.experts > 0) {
    row("routers", count.routers);
    row("experts", count.experts);
  }
  row("norms", count.norms);
  row("output head", count.output);
  row("total", count.total());
  if (count.experts > 0) row("a token passes", count.active());
}

void print_work(const RunConfig& config) {
  const FlopsPerToken flops = gpt_flops_per_token(config.model, config.data.seq_length);
  const double tokens = static_cast<double>(config.train.batch_size() * config.data.seq_length);
  std::printf("\nwork, forward and backward\n");
  print_row("FLOPs per token", human_count(flops.megatron), "Megatron's formula");
  print_row("", human_count(flops.true_work), "matrix products of the layers that are run");
  print_row("tokens per step", human_count(tokens),
            fmt::format("{} sequences of {} in {} microbatches", config.train.batch_size(),
                        config.data.seq_length, config.train.num_microbatches(1)));
  print_row("FLOPs per step", human_count(flops.true_work * tokens));
  print_row("tokens in all", human_count(tokens * static_cast<double>(config.train.train_iters)),
            fmt::format("{} steps", config.train.train_iters));
  print_row("FLOPs in all",
            human_count(flops.true_work * tokens * static_cast<double>(config.train.train_iters)));
}

// Of one rank that holds everything.
void print_memory(RunConfig config) {
  config.parallel = {};
  const PipelinePlan whole{
      .schedule = make_schedule(schedule_options(config.parallel, 1)),
      .stages = {{.count = config.model.num_layers, .has_embedding = true, .has_loss = true}},
      .peak_in_flight = {1}};
  const RankMemory plan = rank_memory(config, MeshShape{}, whole, 0);
  const auto row = [](const char* name, int64_t bytes, const std::string& detail = {}) {
    print_row(name, human_bytes(static_cast<double>(bytes)), detail);
  };
  std::printf("\nmemory, on one rank\n");
  row("parameters", plan.parameters, name_of(config.model.dtype()));
  row("gradients", plan.gradients, name_of(config.optim.gradient_dtype()));
  row("optimizer", plan.optimizer,
      config.model.dtype() == DType::kF32 ? "two f32 moments" : "f32 master weights and two moments");
  row("activations", plan.activations,
      fmt::format("one microbatch of {} tokens, recompute {}",
                  config.train.micro_batch_size * config.data.seq_length,
                  config.train.recompute_granularity));
  row("total", plan.total());
}

void plan_world(const PlanOptions& options, const RunConfig& config) {
  const Cluster cluster = find_cluster(options.cluster);
  const auto world = static_cast<int>(options.world);
  try {
    print_layout(estimate_layout(config, world, cluster), cluster);
  } catch (const UsageError& error) {
    if (options.best == 0) throw;
    std::printf("\nthe recipe's own layout does not run on %d GPUs: %s\n", world, error.what());
  }
  if (options.best == 0) return;
  Progress progress({.title = "layouts", .unit = "meshes"});
  const SearchResult found = search_layouts(config, world, cluster, static_cast<size_t>(options.best),
                                            [&](int64_t done, int64_t) { progress.update(done); });
  progress.finish();
  print_best_layouts(found, cluster);
}

void run_plan(CommandLine& line) {
  PlanOptions options;
  RunConfig config;
  line.add("plan command", "Command", options);
  add_recipe_sections(line, config);
  if (!line.parse()) return;
  const bool has_tokenizer = !config.train.tokenizer_model.empty();
  complete(config, has_tokenizer ? load_tokenizer(config.train.tokenizer_model)->vocab_size() : 0);
  print_parameters(config.model);
  print_work(config);
  print_memory(config);

  if (!options.schedule.empty()) config.parallel.pipeline_schedule = options.schedule;
  if (options.world > 0) plan_world(options, config);
  const bool has_pipeline = config.parallel.pipeline_model_parallel_size > 1;
  if (!has_pipeline && options.schedule.empty() && options.out.empty()) return;
  const SchedulePlan plan = plan_schedule(
      config.parallel, config.model,
      options.num_microbatches > 0 ? options.num_microbatches : config.train.num_microbatches(1));
  print_schedule(plan);
  if (options.out.empty()) return;
  draw_schedule(plan, options.out);
  std::printf("%s\n", options.out.c_str());
}

}  // namespace

Command plan_command() {
  return {
      .name = "plan",
      .summary = "Parameters, FLOPs, memory and pipeline schedule of a run before it is run.",
      .examples = {"megalith plan recipes/llama3-8b.yaml --world 64 --cluster h200x8",
                   "megalith plan recipes/gpt2-124m.yaml --schedule zb-h1 --pipeline-model-parallel-size 4 "
                   "--num-microbatches 8 --out timeline.svg"},
      .run = run_plan};
}

}  // namespace megalith
