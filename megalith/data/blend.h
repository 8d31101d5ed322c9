#pragma once
// defines: Blend, parse_blend, normalized, BlendIndices, weighted_blend, exhaustive_blend, BlendSizes,
// blend_sizes

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "megalith/data/index_array.h"

namespace megalith {

/// Megatron's `--data-path`: prefixes, and weights if the list alternates weight and prefix.
struct Blend {
  std::vector<std::string> prefixes;
  std::optional<std::vector<double>> weights;
};

/// An odd number of arguments, or an even one whose every other argument is no number, are prefixes only.
/// Throws UsageError for an empty list, a mixture, and weights that are not above zero.
Blend parse_blend(std::span<const std::string> arguments);

/// Divided by their sum.
std::vector<double> normalized(std::span<const double> weights);

/// Sample n of a blend is sample `sample_index[n]` of data set `dataset_index[n]`.
struct BlendIndices {
  IndexArray dataset_index;  // int16 [size]
  IndexArray sample_index;   // int64 [size]
};

/// Megatron's greedy rule: the data set that lags most behind weight * max(n, 1) gives sample n; ties go to
/// the lowest. `weights` sum to one.
BlendIndices weighted_blend(std::span<const double> weights, int64_t size);
/// The same rule among the data sets that still have samples, until all sizes[i] samples are used.
BlendIndices exhaustive_blend(std::span<const int64_t> sizes);

/// How many samples a weighted blend of `num_samples` uses and asks for.
struct BlendSizes {
  std::vector<int64_t> requested;  ///< of each data set: ceil(ceil(N * w) * 1.005)
  int64_t size = 0;                ///< of the blend: the sum of ceil(N * w), not N
};
BlendSizes blend_sizes(std::span<const double> weights, int64_t num_samples);

}  // namespace megalith
