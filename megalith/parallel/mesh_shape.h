#pragma once
// defines: Axis, MeshShape, mesh_shape, RankLayout

#include <array>
#include <string>
#include <vector>

#include "megalith/parallel/parallel_config.h"

namespace megalith {

/// Dense layers are laid out over tp x cp x dp x pp, expert layers of the same ranks over etp x ep x edp x pp
/// (MoE parallel folding, Liu et al. 2025).
enum class Axis { kTp, kCp, kDp, kPp, kEtp, kEp, kEdp };
const char* name_of(Axis axis);

struct MeshShape {
  int world = 1;
  int tp = 1, cp = 1, dp = 1, pp = 1;
  int etp = 1, ep = 1, edp = 1;
  std::string order = "tp-cp-ep-dp-pp";  ///< the first axis varies fastest from rank to rank

  int size(Axis axis) const;
};

/// dp and edp from what the other axes leave of the world. Throws UsageError naming the keys whose product
/// does not divide it.
MeshShape mesh_shape(const ParallelConfig& config, int world_size);

/// Coordinates and groups of the ranks, Megatron's RankGenerator: the dense axes in `order` without ep, the
/// expert axes in the same order with etp for tp, edp for dp and without cp.
class RankLayout {
 public:
  explicit RankLayout(const MeshShape& shape);

  int coordinate(int rank, Axis axis) const;
  /// Ranks that differ from `rank` along these axes only (all dense or all expert; pp is both), in rank
  /// order.
  std::vector<int> group(int rank, const std::vector<Axis>& axes) const;

 private:
  struct Place {
    Axis axis;
    int size, stride;
  };
  const std::vector<Place>& places_with(Axis axis) const;

  int world_;
  std::vector<Place> dense_;
  std::vector<Place> expert_;
};

}  // namespace megalith
