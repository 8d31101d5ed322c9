#pragma once
// defines: AxisScale, Axis, make_axis, Curve, smooth, thin_out

#include <string>
#include <utility>
#include <vector>

namespace megalith {

enum class AxisScale { kLinear, kLog };

/// A range of values, the places of its marks and what is written beside them.
struct Axis {
  AxisScale scale = AxisScale::kLinear;
  double low = 0;
  double high = 1;
  std::vector<double> ticks;
  std::vector<std::string> labels;

  /// 0 at `low`, 1 at `high`.
  double position(double value) const;
};

/// Marks at 1, 2 or 5 times a power of ten, about `num_ticks` of them. The range is kept as it is; equal or
/// reversed bounds are widened. A log axis needs low > 0, else throws Error.
Axis make_axis(double low, double high, AxisScale scale, int num_ticks);

/// (x, y) with ascending x.
using Curve = std::vector<std::pair<double, double>>;

/// Mean of y over the neighbours on both sides, with weights that fall by `factor` from point to point:
/// s_n = sum_i a^|n-i| y_i / sum_i a^|n-i|. It does not lag behind a falling curve; factor 0 changes nothing.
Curve smooth(const Curve& curve, double factor);

/// At most about 2 * num_buckets points with the same outline: the lowest and highest point of every bucket
/// of x.
Curve thin_out(const Curve& curve, int num_buckets);

}  // namespace megalith
