#pragma once
// defines: load_first, store_first, round_to_lanes
// For *.simd.cpp files: the vector at the end of a row.

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "megalith/kernels/cpu/simd_vector.h"

namespace megalith::cpu {

template <class T>
constexpr int64_t round_to_lanes(int64_t count) {
  return (count + kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}

/// The first `count` lanes from memory, which is not read beyond them, the others 0. Any count: at most 0
/// gives zeros, more than the lanes a whole vector.
template <class T>
[[gnu::always_inline]] static inline Vec<accumulate_t<T>> load_first(const T* from, int64_t count) {
  using Sum = accumulate_t<T>;
  constexpr int64_t kCount = kLanes<Sum>;
  if (count >= kCount) return load_vector(from);
  if (count <= 0) return Vec<Sum>{};
#if defined(__AVX512F__)
  const auto mask = static_cast<uint32_t>((1u << count) - 1);
  if constexpr (__is_same(T, float)) {
    return reinterpret_cast<Vec<float>>(_mm512_maskz_loadu_ps(static_cast<__mmask16>(mask), from));
  } else if constexpr (__is_same(T, bf16)) {
    const auto bits = reinterpret_cast<Vec<uint16_t, kVectorBytes / 2>>(
        _mm256_maskz_loadu_epi16(static_cast<__mmask16>(mask), from));
    return reinterpret_cast<Vec<float>>(__builtin_convertvector(bits, Vec<uint32_t>) << 16);
  }
#elif defined(__AVX2__)
  if constexpr (__is_same(T, float)) {
    const __m256i lane = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i mask = _mm256_cmpgt_epi32(_mm256_set1_epi32(static_cast<int>(count)), lane);
    return reinterpret_cast<Vec<float>>(_mm256_maskload_ps(from, mask));
  }
#endif
  T lanes[kCount] = {};
  for (int64_t i = 0; i < count; ++i) lanes[i] = from[i];
  const T* padded = lanes;
  return load_vector(padded);
}

/// Writes the first `count` lanes, all for a larger count.
template <class T>
[[gnu::always_inline]] static inline void store_first(T* to, Vec<accumulate_t<T>> value, int64_t count) {
  constexpr int64_t kCount = kLanes<accumulate_t<T>>;
  if (count >= kCount) return store_vector(to, value);
  T lanes[kCount];
  store_vector(lanes, value);
  for (int64_t i = 0; i < count; ++i) to[i] = lanes[i];
}

}  // namespace megalith::cpu
