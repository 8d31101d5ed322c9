#include "megalith/data/blend.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/data/split.h"

namespace megalith {
namespace {

constexpr size_t kMaxDatasets = 32767;  // the data set ids are int16
constexpr double kSurplus = 0.005;

std::optional<double> parse_number(std::string_view text) {
  text = trim(text);
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

/// How far a data set lags behind at sample n.
double lag(double weight, int64_t sample, int64_t count) {
  return weight * static_cast<double>(std::max<int64_t>(sample, 1)) - static_cast<double>(count);
}

}  // namespace

Blend parse_blend(std::span<const std::string> arguments) {
  if (arguments.empty()) throw UsageError("data_path is empty: at least one path prefix is needed");
  Blend blend;
  std::vector<double> weights;
  for (size_t i = 0; arguments.size() % 2 == 0 && i < arguments.size(); i += 2) {
    const auto weight = parse_number(arguments[i]);
    if (weight) weights.push_back(*weight);
    if (weights.size() != (weight ? i / 2 + 1 : 0)) {
      throw UsageError(
          fmt::format("data_path: \"{}\" is {}a number: either every prefix has a weight before it, or none",
                      arguments[i], weight ? "" : "not "));
    }
    if (weight && (!(*weight > 0) || !std::isfinite(*weight))) {
      throw UsageError(
          fmt::format("data_path: the weight {} of {} must be above 0", arguments[i], arguments[i + 1]));
    }
  }
  for (size_t i = weights.empty() ? 0 : 1; i < arguments.size(); i += weights.empty() ? 1 : 2) {
    blend.prefixes.emplace_back(trim(arguments[i]));
  }
  if (!weights.empty()) blend.weights = std::move(weights);
  if (blend.prefixes.size() >= kMaxDatasets) {
    throw UsageError(
        fmt::format("data_path: {} data sets are too many (below {})", blend.prefixes.size(), kMaxDatasets));
  }
  return blend;
}

std::vector<double> normalized(std::span<const double> weights) {
  const double sum = pairwise_sum(weights);
  std::vector<double> shares(weights.begin(), weights.end());
  for (double& share : shares) share /= sum;
  return shares;
}

BlendIndices weighted_blend(std::span<const double> weights, int64_t size) {
  std::vector<int16_t> datasets(static_cast<size_t>(size));
  std::vector<int64_t> samples(static_cast<size_t>(size));
  std::vector<int64_t> counts(weights.size());
  for (int64_t n = 0; n < size; ++n) {
    size_t chosen = 0;
    double most = lag(weights[0], n, counts[0]);
    for (size_t i = 1; i < weights.size(); ++i) {
      const double here = lag(weights[i], n, counts[i]);
      if (here > most) {
        most = here;
        chosen = i;
      }
    }
    datasets[static_cast<size_t>(n)] = static_cast<int16_t>(chosen);
    samples[static_cast<size_t>(n)] = counts[chosen]++;
  }
  return {IndexArray(std::move(datasets)), IndexArray(std::move(samples))};
}

BlendIndices exhaustive_blend(std::span<const int64_t> sizes) {
  const int64_t total = std::accumulate(sizes.begin(), sizes.end(), int64_t{0});
  std::vector<int16_t> datasets(static_cast<size_t>(total));
  std::vector<int64_t> samples(static_cast<size_t>(total));
  std::vector<int64_t> counts(sizes.size());
  std::vector<size_t> unspent;
  for (size_t i = 0; i < sizes.size(); ++i) {
    if (sizes[i] > 0) unspent.push_back(i);
  }
  for (int64_t n = 0; n < total; ++n) {
    auto chosen = unspent.begin();
    double most = std::numeric_limits<double>::lowest();
    for (auto candidate = unspent.begin(); candidate != unspent.end(); ++candidate) {
      const double weight = static_cast<double>(sizes[*candidate]) / static_cast<double>(total);
      const double here = lag(weight, n, counts[*candidate]);
      if (here > most) {
        most = here;
        chosen = candidate;
      }
    }
    const size_t dataset = *chosen;
    datasets[static_cast<size_t>(n)] = static_cast<int16_t>(dataset);
    samples[static_cast<size_t>(n)] = counts[dataset]++;
    if (counts[dataset] == sizes[dataset]) unspent.erase(chosen);
  }
  return {IndexArray(std::move(datasets)), IndexArray(std::move(samples))};
}

BlendSizes blend_sizes(std::span<const double> weights, int64_t num_samples) {
  BlendSizes sizes;
  for (const double weight : weights) {
    const double used = std::ceil(static_cast<double>(num_samples) * weight);
    sizes.size += static_cast<int64_t>(used);
    sizes.requested.push_back(static_cast<int64_t>(std::ceil(used * (1 + kSurplus))));
  }
  return sizes;
}

}  // namespace megalith
