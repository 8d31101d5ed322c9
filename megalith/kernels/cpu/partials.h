#pragma once
// defines: clear, sum_partials

#include <cstdint>

namespace megalith::cpu {

template <class Acc>
[[gnu::always_inline]] static inline void clear(Acc* values, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] = 0;
}

/// out[c] (+)= partials[0, c] + partials[1, c] + ..., in this order.
template <class Acc>
[[gnu::always_inline]] static inline void sum_partials(const Acc* partials, int64_t count, int64_t cols,
                                                       bool accumulate, Acc* out) {
  if (!accumulate) clear(out, cols);
  for (int64_t part = 0; part < count; ++part) {
    const Acc* from = partials + part * cols;
#pragma omp simd
    for (int64_t c = 0; c < cols; ++c) out[c] += from[c];
  }
}

}  // namespace megalith::cpu
