#include "megalith/parallel/stage_layout.h"

#include "megalith/base/error.h"
#include "megalith/base/math.h"

namespace megalith {

ScheduleOptions schedule_options(const ParallelConfig& config, int64_t num_microbatches) {
  return {.kind = parse_schedule_kind(config.pipeline_schedule),
          .num_ranks = narrow<int>(config.pipeline_model_parallel_size),
          .num_microbatches = narrow<int>(num_microbatches),
          .num_chunks = narrow<int>(config.virtual_pipeline_model_parallel_size),
          .makes_pairs = config.overlap_moe_expert_parallel_comm};
}

std::vector<StageLayers> stages_of_rank(const Mesh& mesh, int64_t num_layers) {
  // Which stages lie where does not depend on the number of microbatches.
  const Schedule schedule = make_schedule(schedule_options(mesh.config(), mesh.shape().pp));
  const std::vector<StageLayers> stages =
      split_layers({.num_layers = num_layers,
                    .num_stages = schedule.num_stages(),
                    .layout = mesh.config().pipeline_model_parallel_layout});
  std::vector<StageLayers> own;
  for (int chunk = 0; chunk < schedule.num_chunks; ++chunk)
    own.push_back(stages[static_cast<size_t>(schedule.stage_of(mesh.pp().rank(), chunk))]);
  return own;
}

}  // namespace megalith
