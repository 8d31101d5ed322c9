#include "megalith/parallel/mesh_shape.h"

#include <algorithm>

#include "megalith/base/error.h"

namespace megalith {
namespace {

bool is_expert(Axis axis) {
  return axis == Axis::kEtp || axis == Axis::kEp || axis == Axis::kEdp;
}

// "tp-cp-ep-dp-pp" -> the axes of one kind of layers, fastest first.
std::vector<Axis> axes_of(const std::string& order, bool expert) {
  std::vector<Axis> axes;
  for (size_t at = 0; at < order.size(); at += 3) {
    const std::string name = order.substr(at, 2);
    if (name == "tp") axes.push_back(expert ? Axis::kEtp : Axis::kTp);
    if (name == "dp") axes.push_back(expert ? Axis::kEdp : Axis::kDp);
    if (name == "pp") axes.push_back(Axis::kPp);
    if (name == "cp" && !expert) axes.push_back(Axis::kCp);
    if (name == "ep" && expert) axes.push_back(Axis::kEp);
  }
  return axes;
}

}  // namespace

const char* name_of(Axis axis) {
  switch (axis) {
    case Axis::kTp:
      return "tp";
    case Axis::kCp:
      return "cp";
    case Axis::kDp:
      return "dp";
    case Axis::kPp:
      return "pp";
    case Axis::kEtp:
      return "etp";
    case Axis::kEp:
      return "ep";
    case Axis::kEdp:
      return "edp";
  }
  return "?";
}

int MeshShape::size(Axis axis) const {
  switch (axis) {
    case Axis::kTp:
      return tp;
    case Axis::kCp:
      return cp;
    case Axis::kDp:
      return dp;
    case Axis::kPp:
      return pp;
    case Axis::kEtp:
      return etp;
    case Axis::kEp:
      return ep;
    case Axis::kEdp:
      return edp;
  }
  return 1;
}

MeshShape mesh_shape(const ParallelConfig& c, int world_size) {
  MeshShape shape{.world = world_size,
                  .tp = static_cast<int>(c.tensor_model_parallel_size),
                  .cp = static_cast<int>(c.context_parallel_size),
                  .pp = static_cast<int>(c.pipeline_model_parallel_size),
                  .ep = static_cast<int>(c.expert_model_parallel_size),
                  .order = c.rank_order};
  shape.etp = c.expert_tensor_parallel_size > 0 ? static_cast<int>(c.expert_tensor_parallel_size) : shape.tp;
  const int dense = shape.tp * shape.cp * shape.pp;
  if (world_size % dense != 0) {
    throw UsageError(fmt::format(
        "{} ranks are not a multiple of tensor_model_parallel_size {} x context_parallel_size {} x "
        "pipeline_model_parallel_size {} = {}",
        world_size, shape.tp, shape.cp, shape.pp, dense));
  }
  shape.dp = world_size / dense;
  const int expert = shape.etp * shape.ep * shape.pp;
  if (world_size % expert != 0) {
    throw UsageError(fmt::format(
        "{} ranks are not a multiple of expert_tensor_parallel_size {} x expert_model_parallel_size {} x "
        "pipeline_model_parallel_size {} = {}",
        world_size, shape.etp, shape.ep, shape.pp, expert));
  }
  shape.edp = world_size / expert;
  return shape;
}

RankLayout::RankLayout(const MeshShape& shape) : world_(shape.world) {
  for (const bool expert : {false, true}) {
    int stride = 1;
    for (const Axis axis : axes_of(shape.order, expert)) {
      (expert ? expert_ : dense_).push_back({axis, shape.size(axis), stride});
      stride *= shape.size(axis);
    }
    MG_ASSERT(stride == world_);
  }
}

const std::vector<RankLayout::Place>& RankLayout::places_with(Axis axis) const {
  return is_expert(axis) ? expert_ : dense_;
}

int RankLayout::coordinate(int rank, Axis axis) const {
  for (const Place& place : places_with(axis))
    if (place.axis == axis) return rank / place.stride % place.size;
  return 0;
}

std::vector<int> RankLayout::group(int rank, const std::vector<Axis>& axes) const {
  const bool expert = std::any_of(axes.begin(), axes.end(), is_expert);
  const std::vector<Place>& places = expert ? expert_ : dense_;
  std::vector<int> ranks;
  for (int other = 0; other < world_; ++other) {
    const bool is_member = std::all_of(places.begin(), places.end(), [&](const Place& place) {
      return std::find(axes.begin(), axes.end(), place.axis) != axes.end() ||
             other / place.stride % place.size == rank / place.stride % place.size;
    });
    if (is_member) ranks.push_back(other);
  }
  return ranks;
}

}  // namespace megalith
