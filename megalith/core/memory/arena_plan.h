#pragma once
// defines: BlockLife, ArenaPlan, peak_bytes, plan_arena

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

namespace megalith {

/// A block that is needed from one moment to before another; moments are any numbers that grow.
struct BlockLife {
  static constexpr int64_t kForever = std::numeric_limits<int64_t>::max();

  int64_t bytes = 0;  ///< more than 0
  int64_t begin = 0;
  int64_t end = kForever;  ///< behind begin
};

/// What all blocks of the worst moment have together: no plan needs less.
int64_t peak_bytes(std::span<const BlockLife> blocks);

/// Where each block lies in one stretch of memory.
struct ArenaPlan {
  std::vector<int64_t> offsets;  ///< by block; sums of sizes, so that what divides all sizes divides them
  int64_t total_bytes = 0;
};

/// Blocks that are needed at the same moment do not overlap. The smallest total is a hard problem (dynamic
/// storage allocation is NP-complete); here blocks are placed one by one, each in the smallest gap between
/// those that live at the same time, in three orders: large ones first, those that take most space and time
/// first, and as they come. The best of the three is the plan.
ArenaPlan plan_arena(std::span<const BlockLife> blocks);

}  // namespace megalith
