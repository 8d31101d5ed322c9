#pragma once
// defines: schedule_options, stages_of_rank

#include <vector>

#include "megalith/parallel/mesh.h"
#include "megalith/parallel/pipeline/layer_split.h"
#include "megalith/parallel/pipeline/make_schedule.h"

namespace megalith {

/// The schedule that a recipe asks for. Without a pipeline: forward and backward of one microbatch after
/// another.
ScheduleOptions schedule_options(const ParallelConfig& config, int64_t num_microbatches);

/// What this rank's chunks hold, by chunk.
std::vector<StageLayers> stages_of_rank(const Mesh& mesh, int64_t num_layers);

}  // namespace megalith
