#pragma once
// defines: shrink

#include "megalith/train/train_config.h"

namespace megalith {

/// The scaled-down twin of a recipe: layers of the same kinds (attention, experts or not, norms, positions)
/// in small widths that `num_ranks` ranks can share along any axis, short sequences of made-up tokens. It
/// trains on a CPU in seconds.
RunConfig shrink(const RunConfig& config, int num_ranks);

}  // namespace megalith
