#pragma once
// defines: SamplingOptions

#include <cstdint>

namespace megalith {

/// Temperature divides the logits; then the top_k largest stay; then the smallest set of the most probable
/// tokens whose probability reaches top_p (nucleus sampling, Holtzman et al. 2020). Greedy when temperature
/// is 0 or top_k is 1.
struct SamplingOptions {
  double temperature = 1;
  int64_t top_k = 0;  ///< 0: all
  double top_p = 0;   ///< 0: all
  bool is_greedy() const { return temperature == 0 || top_k == 1; }
};

}  // namespace megalith
