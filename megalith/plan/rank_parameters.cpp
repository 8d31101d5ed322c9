#include "megalith/plan/rank_parameters.h"

#include <algorithm>

#include "megalith/plan/stage_work.h"

namespace megalith {
namespace {

void add_unit(RankParameters& sum, int64_t dense, int64_t experts) {
  sum.dense += dense;
  sum.experts += experts;
  sum.largest_dense = std::max(sum.largest_dense, dense);
  sum.largest_experts = std::max(sum.largest_experts, experts);
}

}  // namespace

std::vector<StageLayers> PipelinePlan::stages_of(int rank) const {
  std::vector<StageLayers> held;
  for (int chunk = 0; chunk < schedule.num_chunks; ++chunk)
    held.push_back(stages[static_cast<size_t>(schedule.stage_of(rank, chunk))]);
  return held;
}

bool has_experts(const GptConfig& model, int64_t layer) {
  return model.moe.has_experts() && model.moe.expert_layers(model.num_layers)[static_cast<size_t>(layer)];
}

RankParameters rank_parameters(const GptConfig& model, const MeshShape& shape, const PipelinePlan& pipeline,
                               int pipeline_rank) {
  const int64_t h = model.hidden_size, table = model.padded_vocab_size() * h / shape.tp;
  const int64_t norm = model.norm_kind() == NormKind::kLayerNorm ? 2 * h : h;
  const std::vector<StageLayers> stages = pipeline.stages_of(pipeline_rank);
  const bool has_table =
      std::any_of(stages.begin(), stages.end(), [](const StageLayers& stage) { return stage.has_embedding; });
  RankParameters sum;
  for (const StageLayers& stage : stages) {
    for (int64_t layer = stage.first; layer < stage.first + stage.count; ++layer) {
      const LayerSize size = layer_size(model, has_experts(model, layer));
      add_unit(sum, size.sharded / shape.tp + size.replicated, size.experts / (shape.ep * shape.etp));
    }
    if (stage.has_embedding)
      add_unit(sum, table + (model.has_learned_positions() ? model.max_position_embeddings * h : 0), 0);
    const bool is_tied = !model.untie_embeddings_and_output_weights;
    if (stage.has_loss) add_unit(sum, norm + (is_tied && has_table ? 0 : table), 0);
  }
  return sum;
}

}  // namespace megalith
