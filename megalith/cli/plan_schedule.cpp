#include "megalith/cli/plan_schedule.h"

#include <algorithm>
#include <cstdio>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/models/gpt/gpt_flops.h"
#include "megalith/parallel/stage_layout.h"
#include "megalith/report/timeline_plot.h"

namespace megalith {
namespace {

// Work of the stages relative to their mean; the matrices decide, the embedding is a look-up.
std::vector<double> stage_work(const std::vector<StageLayers>& stages, const GptConfig& model) {
  const GptParameterCount count = count_gpt_parameters(model);
  const double layer =
      static_cast<double>(count.attention + count.mlp) / static_cast<double>(model.num_layers);
  const auto head = static_cast<double>(count.output > 0 ? count.output : count.embedding);
  std::vector<double> work;
  double sum = 0;
  for (const StageLayers& stage : stages) {
    work.push_back(layer * static_cast<double>(stage.count) + (stage.has_loss ? head : 0));
    sum += work.back();
  }
  for (double& w : work) w *= static_cast<double>(stages.size()) / sum;
  return work;
}

std::string content(const StageLayers& stage) {
  std::vector<std::string> parts;
  if (stage.has_embedding) parts.push_back("embedding");
  if (stage.count == 1) parts.push_back(fmt::format("layer {}", stage.first));
  if (stage.count > 1)
    parts.push_back(fmt::format("layers {}-{}", stage.first, stage.first + stage.count - 1));
  if (stage.has_loss) parts.push_back("loss");
  return join(parts, " + ");
}

std::string rank_content(const SchedulePlan& plan, int rank) {
  std::vector<std::string> chunks;
  for (int chunk = 0; chunk < plan.schedule.num_chunks; ++chunk)
    chunks.push_back(content(plan.stages[static_cast<size_t>(plan.schedule.stage_of(rank, chunk))]));
  return join(chunks, " | ");
}

// A peak counts chunks; the reader thinks in microbatches through all layers of the rank.
std::string peak_text(const SchedulePlan& plan, int rank) {
  const int peak = plan.timeline.peak_in_flight[static_cast<size_t>(rank)];
  const int chunks = plan.schedule.num_chunks;
  if (chunks == 1) return fmt::format("{} in flight", peak);
  return fmt::format("{} chunks in flight, {:.3g} microbatches", peak, static_cast<double>(peak) / chunks);
}

int kind_index(ActionKind kind) {
  switch (kind) {
    case ActionKind::kForward:
      return 0;
    case ActionKind::kBackwardInput:
      return 2;
    case ActionKind::kBackwardWeight:
      return 3;
    default:
      return 1;
  }
}

}  // namespace

SchedulePlan plan_schedule(const ParallelConfig& parallel, const GptConfig& model, int64_t num_microbatches) {
  SchedulePlan plan;
  plan.name = parallel.pipeline_schedule;
  plan.schedule = make_schedule(schedule_options(parallel, num_microbatches));
  plan.stages = split_layers({.num_layers = model.num_layers,
                              .num_stages = plan.schedule.num_stages(),
                              .layout = parallel.pipeline_model_parallel_layout});
  plan.timeline = simulate(plan.schedule, {.stage_work = stage_work(plan.stages, model)});
  plan.even_bubble_fraction = simulate(plan.schedule, {}).bubble_fraction;
  return plan;
}

void print_schedule(const SchedulePlan& plan) {
  std::printf("\npipeline schedule %s: %d ranks, %d stages, %d microbatches\n", plan.name.c_str(),
              plan.schedule.num_ranks, plan.schedule.num_stages(), plan.schedule.num_microbatches);
  std::printf("  %-22s %10.1f %%  of the ranks' time; %.1f %% if all stages took equally long\n", "bubble",
              100 * plan.timeline.bubble_fraction, 100 * plan.even_bubble_fraction);
  size_t width = 0;
  for (int rank = 0; rank < plan.schedule.num_ranks; ++rank)
    width = std::max(width, rank_content(plan, rank).size());
  for (int rank = 0; rank < plan.schedule.num_ranks; ++rank) {
    const double busy = plan.timeline.busy[static_cast<size_t>(rank)] / plan.timeline.duration;
    std::printf("  %-22s %10.1f %%  busy   %-*s   %s\n", fmt::format("rank {}", rank).c_str(), 100 * busy,
                static_cast<int>(width), rank_content(plan, rank).c_str(), peak_text(plan, rank).c_str());
  }
}

void draw_schedule(const SchedulePlan& plan, const std::filesystem::path& path) {
  TimelinePlot plot{.title = fmt::format("{}: {} ranks, {} microbatches", plan.name, plan.schedule.num_ranks,
                                         plan.schedule.num_microbatches),
                    .subtitle = fmt::format("bubble {:.1f} %", 100 * plan.timeline.bubble_fraction),
                    .kinds = {"forward", "backward", "backward, input", "backward, weights"}};
  size_t num_boxes = 0;
  for (int rank = 0; rank < plan.schedule.num_ranks; ++rank) {
    TimelineRow row{.label = fmt::format("rank {}", rank), .note = peak_text(plan, rank)};
    for (const TimedAction& timed : plan.timeline.ranks[static_cast<size_t>(rank)]) {
      if (!timed.action.is_compute()) continue;
      row.boxes.push_back({.begin = timed.begin,
                           .end = timed.end,
                           .kind = kind_index(timed.action.kind),
                           .shade = timed.action.chunk,
                           .label = fmt::format("{}", timed.action.microbatch)});
    }
    num_boxes = std::max(num_boxes, row.boxes.size());
    plot.rows.push_back(std::move(row));
  }
  plot.width = static_cast<int>(std::clamp<size_t>(240 + 24 * num_boxes, 1000, 12000));
  write_timeline(path, plot);
}

}  // namespace megalith
