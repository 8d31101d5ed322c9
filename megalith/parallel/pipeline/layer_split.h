#pragma once
// defines: StageLayers, LayerSplit, split_layers

#include <cstdint>
#include <string>
#include <vector>

namespace megalith {

/// What one pipeline stage holds. Stages are numbered by depth; Schedule::rank_of says where they lie.
struct StageLayers {
  int64_t first = 0;    ///< the first layer
  int64_t count = 0;    ///< how many layers; 0 where the stage holds the embedding or the loss alone
  int64_t num_mtp = 0;  ///< multi-token prediction layers
  bool has_embedding = false;
  bool has_loss = false;
  friend bool operator==(const StageLayers&, const StageLayers&) = default;
};

struct LayerSplit {
  int64_t num_layers = 0;
  int num_stages = 1;  ///< pipeline ranks x model chunks
  int64_t num_mtp_layers = 0;
  /// How many layers the embedding and the head with its loss are worth. Megatron's
  /// account_for_embedding_in_pipeline_split and account_for_loss_in_pipeline_split are 1.
  double embedding_weight = 0;
  double loss_weight = 0;
  /// One letter per part, `|` between stages: E embedding, t layer, m multi-token prediction layer, L loss;
  /// `x*n` and `(...)*n` repeat, commas and spaces do not count: `Et*3|(tt|)*2tL`. Replaces the weights.
  std::string layout;
};

/// One entry per stage, in order of depth. Without a layout the load of the heaviest stage is as low as it
/// can be, and layers that are left over go to later stages, which hold fewer microbatches in flight. Throws
/// UsageError naming the place in the layout or the numbers that do not fit; every stage must hold something.
std::vector<StageLayers> split_layers(const LayerSplit& split);

}  // namespace megalith
