#pragma once
// defines: layout_name, layout_choices

#include <string>
#include <vector>

#include "megalith/train/train_config.h"

namespace megalith {

/// "tp2 sp pp2 zb-h1 cp2 dp2 optim ep2 etp1": axes of more than one rank, and how their ranks meet where that
/// is not the default. "single" for one rank.
std::string layout_name(const ParallelConfig& parallel, int num_ranks);

/// Layouts of all ranks for a recipe's kind of model. Every mesh (tp, pp, cp, dp whose product is the number
/// of ranks) occurs, with every kind of sequence parallelism, pipeline schedule, context parallelism,
/// data-parallel sharding, and, for experts, every ep and etp; and so does every pair of two such kinds. Each
/// layout in turn is the one with the most pairs that did not occur before: the first few already differ in
/// everything. Some may not fit the recipe: that is said where they are run. What `base` says of other
/// matters (overlap, rank order) they all have.
std::vector<ParallelConfig> layout_choices(const ParallelConfig& base, const GptConfig& model, int num_ranks);

}  // namespace megalith
