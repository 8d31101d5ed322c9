#include "megalith/kernels/cpu/sample_token.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "megalith/base/error.h"

namespace megalith::cpu {
namespace {

// Indices of the logits, largest first: all of them, or the top_k.
std::vector<int32_t> by_size(std::span<const float> logits, int64_t top_k) {
  std::vector<int32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0);
  const auto count = top_k > 0 ? std::min<size_t>(static_cast<size_t>(top_k), order.size()) : order.size();
  const auto larger = [&](int32_t a, int32_t b) {
    const float x = logits[static_cast<size_t>(a)], y = logits[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  std::partial_sort(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(count), order.end(), larger);
  order.resize(count);
  return order;
}

}  // namespace

int32_t sample_token(std::span<const float> logits, const SamplingOptions& options, uint32_t random_word) {
  MG_CHECK(std::none_of(logits.begin(), logits.end(), [](float x) { return std::isnan(x); }),
           "sampling: a logit is not a number");

  std::vector<int32_t> order = by_size(logits, options.top_k);
  const double largest = logits[static_cast<size_t>(order[0])];
  MG_CHECK(std::isfinite(largest), "sampling: the largest logit is {}", largest);
  std::vector<double> weights;
  for (const int32_t token : order) {
    weights.push_back(std::exp((logits[static_cast<size_t>(token)] - largest) / options.temperature));
  }
  double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (options.top_p > 0 && options.top_p < 1) {
    size_t kept = 0;
    double sum = 0;
    while (kept < weights.size() && sum < options.top_p * total) sum += weights[kept++];
    weights.resize(kept);
    total = sum;
  }
  double target = (random_word + 0.5) * 0x1p-32 * total;
  for (size_t i = 0; i < weights.size(); ++i) {
    target -= weights[i];
    if (target < 0) return order[i];
  }
  return order[weights.size() - 1];
}

}  // namespace megalith::cpu
