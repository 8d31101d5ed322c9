#pragma once
// defines: PipelinePlan, RankParameters, rank_parameters, has_experts

#include <vector>

#include "megalith/parallel/mesh_shape.h"
#include "megalith/parallel/pipeline/layer_split.h"
#include "megalith/parallel/pipeline/schedule.h"
#include "megalith/train/train_config.h"

namespace megalith {

/// What the ranks of a pipeline hold, and how many of a rank's chunks are in flight at once.
struct PipelinePlan {
  Schedule schedule;
  std::vector<StageLayers> stages;  ///< by depth
  std::vector<int> peak_in_flight;  ///< by rank

  std::vector<StageLayers> stages_of(int rank) const;
};

/// Elements of one rank's parameters, and of the largest unit (embedding, layer, head) that data-parallel
/// ranks gather or reduce in one go.
struct RankParameters {
  int64_t dense = 0, experts = 0;
  int64_t largest_dense = 0, largest_experts = 0;

  int64_t total() const { return dense + experts; }
};
RankParameters rank_parameters(const GptConfig& model, const MeshShape& shape, const PipelinePlan& pipeline,
                               int pipeline_rank);

bool has_experts(const GptConfig& model, int64_t layer);

}  // namespace megalith
