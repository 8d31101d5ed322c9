#pragma once
// defines: SchedulePlan, plan_schedule, print_schedule, draw_schedule

#include <filesystem>
#include <vector>

#include "megalith/models/gpt/gpt_config.h"
#include "megalith/parallel/parallel_config.h"
#include "megalith/parallel/pipeline/layer_split.h"
#include "megalith/parallel/pipeline/simulate.h"

namespace megalith {

/// A pipeline schedule run on paper for a model. Forward, input and weight gradients of a stage take equally
/// long, in proportion to the parameters of its matrices; transfers take no time.
struct SchedulePlan {
  std::string name;
  Schedule schedule;
  std::vector<StageLayers> stages;
  Timeline timeline;
  double even_bubble_fraction = 0;  ///< if all stages took equally long
};

/// Throws UsageError where layers, layout, ranks and microbatches do not fit.
SchedulePlan plan_schedule(const ParallelConfig& parallel, const GptConfig& model, int64_t num_microbatches);

/// To stdout: the bubble, and what each rank holds.
void print_schedule(const SchedulePlan& plan);
/// The time line as a .svg or .png file.
void draw_schedule(const SchedulePlan& plan, const std::filesystem::path& path);

}  // namespace megalith
