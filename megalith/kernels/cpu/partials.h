#pragma once
// defines: clear, sum_partials

#include "megalith/kernels/cpu/gradient_types.h"

namespace megalith::cpu {

template <class Acc>
[[gnu::always_inline]] static inline void clear(Acc* values, int64_t count) {
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) values[i] = 0;
}

/// out[c] (+)= partials[0, c] + partials[1, c] + ..., in this order, rounded once.
template <class Acc, class Out>
[[gnu::always_inline]] static inline void sum_partials(const Acc* partials, int64_t count, int64_t cols,
                                                       bool accumulate, Out* out) {
  constexpr int64_t kBlock = 256;
  for (int64_t begin = 0; begin < cols; begin += kBlock) {
    const int64_t size = begin + kBlock < cols ? kBlock : cols - begin;
    Acc sums[kBlock];
    if (accumulate) {
#pragma omp simd
      for (int64_t c = 0; c < size; ++c) sums[c] = load(out[begin + c]);
    } else {
      clear(sums, size);
    }
    for (int64_t part = 0; part < count; ++part) {
      const Acc* from = partials + part * cols + begin;
#pragma omp simd
      for (int64_t c = 0; c < size; ++c) sums[c] += from[c];
    }
#pragma omp simd
    for (int64_t c = 0; c < size; ++c) store(out[begin + c], sums[c]);
  }
}

}  // namespace megalith::cpu
