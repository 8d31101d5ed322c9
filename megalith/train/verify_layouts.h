#pragma once
// defines: VerifyOptions, LayoutVerdict, verify_layouts

#include <functional>
#include <optional>
#include <string>

#include "megalith/train/layout_run.h"

namespace megalith {

struct VerifyOptions {
  int num_ranks = 8;
  int num_steps = 3;
  int64_t max_layouts = 0;  ///< the first ones; 0: all
  int num_threads = 1;      ///< of each rank
  DeviceKind device = DeviceKind::kCpu;
};

/// What became of one layout.
struct LayoutVerdict {
  std::string name;
  std::optional<LayoutDeviation> deviation;  ///< from one rank
  std::string reason;                        ///< why there is none
  bool has_failed = false;
};

/// Trains a few steps of a recipe on one rank and on layouts of all of them (layout_choices.h; with packed
/// documents also hybrid_context_parallel), and compares losses and gradients. Whatever the recipe says: f32,
/// so that rounding hides nothing; no dropout, whose masks differ between layouts; microbatches of one
/// sequence, two of them for each rank; a constant learning rate; made-up tokens where it names no data.
/// `report` gets each verdict as it comes, with how many there will be. A layout that the recipe does not
/// allow has a reason and has not failed.
void verify_layouts(const RunConfig& recipe, const Vocabulary& vocabulary, const VerifyOptions& options,
                    const std::function<void(const LayoutVerdict&, int64_t of)>& report);

}  // namespace megalith
