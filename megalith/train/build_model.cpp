#include "megalith/train/build_model.h"

#include "megalith/parallel/data/data_sharing.h"
#include "megalith/parallel/stage_layout.h"

namespace megalith {

std::unique_ptr<GptModel> build_model(const GptConfig& config, const Mesh& mesh, Exec& exec) {
  GptModel::Layout layout{.mesh = &mesh, .chunks = {}, .sharing = data_sharing(mesh)};
  for (const StageLayers& stage : stages_of_rank(mesh, config.num_layers))
    layout.chunks.push_back({.first_layer = stage.first,
                             .num_layers = stage.count,
                             .has_embedding = stage.has_embedding,
                             .has_head = stage.has_loss});
  return std::make_unique<GptModel>(config, layout, exec);
}

}  // namespace megalith
