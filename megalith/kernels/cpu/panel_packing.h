#pragma once
// defines: PackSource, pack_panels
// For *.simd.cpp files: matrices brought into the order in which multiply_panels reads them.

#include <utility>

#include "megalith/kernels/cpu/load_first.h"

namespace megalith::cpu {

/// `width` rows of A, or columns of B, times `depth` steps of k. With `steps_are_contiguous` the elements of
/// one row of A (column of B) lie side by side, else those of one step.
template <class In>
struct PackSource {
  const In* data;
  int64_t stride;
  int64_t width, depth;
  bool steps_are_contiguous;
};

// Lanes of a from its half, each followed by the lane of b of the same number.
template <int kHalf, class Vector, int... i>
[[gnu::always_inline]] static inline Vector interleave(Vector a, Vector b, std::integer_sequence<int, i...>) {
  constexpr int kCount = sizeof...(i);
  return __builtin_shufflevector(a, b, ((i % 2) * kCount + kHalf * (kCount / 2) + i / 2)...);
}

// Row r's lane i goes to row i's lane r: log2(lanes) rounds, each of which interleaves rows half the count
// apart.
template <class T>
[[gnu::always_inline]] static inline void transpose_lanes(Vec<T> (&rows)[kLanes<T>]) {
  constexpr int kCount = kLanes<T>;
  constexpr auto kSequence = std::make_integer_sequence<int, kCount>{};
#pragma GCC unroll 4
  for (int round = 1; round < kCount; round *= 2) {
    Vec<T> next[kCount];
#pragma GCC unroll 8
    for (int r = 0; r < kCount / 2; ++r) {
      next[2 * r] = interleave<0>(rows[r], rows[r + kCount / 2], kSequence);
      next[2 * r + 1] = interleave<1>(rows[r], rows[r + kCount / 2], kSequence);
    }
#pragma GCC unroll 16
    for (int r = 0; r < kCount; ++r) rows[r] = next[r];
  }
}

// At most one vector's lanes of a panel: the first `width` are taken, the others are 0.
template <int64_t kWidth, class T, class In>
[[gnu::always_inline]] static inline void pack_transposed(const In* from, int64_t stride, int64_t width,
                                                          int64_t depth, T* to) {
  constexpr int kCount = kLanes<T>;
  constexpr int64_t kRows = kWidth < kCount ? kWidth : kCount;
  for (int64_t k = 0; k < depth; k += kCount) {
    const int64_t steps = depth - k < kCount ? depth - k : kCount;
#pragma GCC unroll 16
    for (int r = 0; r < kCount; ++r) __builtin_prefetch(from + (r + kRows) * stride + k);
    Vec<T> block[kCount];
    if (steps == kCount && width == kRows) {
#pragma GCC unroll 16
      for (int r = 0; r < kCount; ++r) block[r] = r < kRows ? load_vector(from + r * stride + k) : Vec<T>{};
    } else {
#pragma GCC unroll 16
      for (int r = 0; r < kCount; ++r)
        block[r] = r < width ? load_first(from + r * stride + k, steps) : Vec<T>{};
    }
    transpose_lanes<T>(block);
    if (steps == kCount) {
#pragma GCC unroll 16
      for (int r = 0; r < kCount; ++r) store_vector(to + (k + r) * kWidth, block[r]);
    } else {
      for (int64_t r = 0; r < steps; ++r) store_vector(to + (k + r) * kWidth, block[r]);
    }
  }
}

/// Panels of kWidth, one after the other `panel_stride` elements apart, each [depth, kWidth] with zeros where
/// the source ends. kWidth is a multiple of the lanes, or less than them: then a store reaches past its step
/// into the next one, which is written later, and past the end of the panel by less than a vector.
template <class T, int64_t kWidth, class In>
static void pack_panels(const PackSource<In>& source, T* panels, int64_t panel_stride) {
  constexpr int64_t kCount = kLanes<T>;
  static_assert(kWidth % kCount == 0 || kWidth < kCount);
  if (source.steps_are_contiguous) {
    for (int64_t begin = 0; begin < source.width; begin += kWidth) {
      T* panel = panels + begin / kWidth * panel_stride;
      for (int64_t part = 0; part < kWidth; part += kCount) {
        const int64_t left = source.width - begin - part;
        const int64_t width = left < kWidth - part ? left : kWidth - part;
        pack_transposed<kWidth>(source.data + (begin + part) * source.stride, source.stride, width,
                                source.depth, panel + part);
      }
    }
    return;
  }
  for (int64_t k = 0; k < source.depth; ++k) {
    const In* from = source.data + k * source.stride;
    T* to = panels + k * kWidth;
    for (int64_t j = 0; j < source.width; j += 64 / sizeof(In))
      __builtin_prefetch(from + 8 * source.stride + j);
    int64_t begin = 0;
    for (; begin + round_to_lanes<T>(kWidth) <= source.width; begin += kWidth, to += panel_stride) {
#pragma GCC unroll 2
      for (int64_t part = 0; part < kWidth; part += kCount)
        store_vector(to + part, load_vector(from + begin + part));
    }
    for (; begin < source.width; begin += kWidth, to += panel_stride) {
      for (int64_t part = 0; part < kWidth; part += kCount)
        store_vector(to + part, load_first(from + begin + part, source.width - begin - part));
    }
  }
}

}  // namespace megalith::cpu
