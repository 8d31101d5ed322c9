#pragma once
// defines: SearchResult, search_layouts

#include <functional>
#include <string>
#include <vector>

#include "megalith/plan/layout_estimate.h"

namespace megalith {

struct SearchResult {
  std::vector<LayoutEstimate> best;  ///< that fit, fastest first; of layouts that differ in nothing but
                                     ///< recompute, microbatch or sharding the fastest
  int64_t num_tried = 0, num_fitting = 0;
  std::string refusal;  ///< why one of the layouts, the first such, cannot be; empty where all can
};

/// Tries the layouts of `world` ranks that the recipe's model and global batch allow: tp within a node, pp
/// with the schedules that suit it, cp, ep, the sharding strategies, microbatches up to 8, recompute as in
/// the recipe and stronger. `on_progress(done, all)` between layouts.
SearchResult search_layouts(const RunConfig& recipe, int world, const Cluster& cluster, size_t num_best,
                            const std::function<void(int64_t, int64_t)>& on_progress);

}  // namespace megalith
