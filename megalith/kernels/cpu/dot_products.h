#pragma once
// defines: dot_rows
// For *.simd.cpp files.

#include "megalith/kernels/cpu/simd_vector.h"

namespace megalith::cpu {

/// sums[r] = a . b[r] for kRows rows of b, which are read side by side. The order of a row's sum does not
/// depend on kRows.
template <int kRows, class A, class B>
[[gnu::always_inline]] static inline void dot_rows(const A* a, const B* b, int64_t b_stride, int64_t count,
                                                   accumulate_t<B>* sums) {
  using Sum = accumulate_t<B>;
  constexpr int64_t kWidth = kLanes<Sum>;
  Vec<Sum> sum[kRows] = {};
  int64_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const Vec<Sum> a_values = load_vector(a + i);
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sum[r] += a_values * load_vector(b + r * b_stride + i);
  }
#pragma GCC unroll 8
  for (int r = 0; r < kRows; ++r) sums[r] = sum_lanes<Sum>(sum[r]);
  for (; i < count; ++i) {
#pragma GCC unroll 8
    for (int r = 0; r < kRows; ++r) sums[r] += static_cast<Sum>(a[i]) * static_cast<Sum>(b[r * b_stride + i]);
  }
}

}  // namespace megalith::cpu
