#include <cstdio>

#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/plan_schedule.h"
#include "megalith/cli/recipe_sections.h"
#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/tokenizer/tokenizer.h"
#include "megalith/train/memory_plan.h"

namespace megalith {
namespace {

struct PlanOptions {
  std::string recipe;
  std::string schedule;
  int64_t num_microbatches = 0;
  std::string out;
};

void declare_fields(PlanOptions& c, FieldList& f) {
  f.add("recipe", c.recipe,
        {.help = "YAML recipe; flags override it",
         .value_name = "RECIPE.yaml",
         .main = true,
         .positional = true});
  f.add("schedule", c.schedule,
        {.help = "pipeline schedule to run on paper", .value_name = "NAME", .main = true});
  f.add("num_microbatches", c.num_microbatches,
        {.help = "of the schedule; 0: the recipe's", .min = 0, .main = true});
  f.add("out", c.out, {.help = "draw the schedule: .svg or .png", .value_name = "FILE", .main = true});
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
  row("norms", count.norms);
  row("output head", count.output);
  row("total", count.total());
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

void print_memory(const RunConfig& config) {
  const MemoryPlan plan = plan_memory(config);
  const auto row = [](const char* name, int64_t bytes, const std::string& detail = {}) {
    print_row(name, human_bytes(static_cast<double>(bytes)), detail);
  };
  std::printf("\nmemory\n");
  row("parameters", plan.parameters, config.model.bf16 ? "bf16" : "f32");
  row("gradients", plan.gradients, "f32");
  row("optimizer", plan.optimizer,
      config.model.bf16 ? "f32 master weights and two moments" : "two f32 moments");
  row("activations", plan.activations,
      fmt::format("one microbatch of {} tokens, recompute {}",
                  config.train.micro_batch_size * config.data.seq_length,
                  config.train.recompute_granularity));
  row("total", plan.total());
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
      .examples = {"megalith plan recipes/gpt2-124m.yaml",
                   "megalith plan recipes/llama-tiny.yaml --num-layers 16 --bf16",
                   "megalith plan recipes/gpt2-124m.yaml --schedule zb-h1 --pipeline-model-parallel-size 4 "
                   "--num-microbatches 8 --out timeline.svg"},
      .run = run_plan};
}

}  // namespace megalith
