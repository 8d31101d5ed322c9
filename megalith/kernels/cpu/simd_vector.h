#pragma once
// defines: kVectorBytes, kLanes, Vec, load_vector, store_vector, splat, max_lane, sum_lanes, exp_nonpositive
// For *.simd.cpp files: the compiler's vector types at the width of the instruction set being compiled for.

#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

#include "megalith/core/dtype.h"

namespace megalith::cpu {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

// Vectors of T, of any whole number of bytes; the second kind may lie anywhere in memory.
template <class T, int kBytes = kVectorBytes>
using Vec [[gnu::vector_size(kBytes)]] = T;
template <class T>
using UnalignedVec [[gnu::vector_size(kVectorBytes), gnu::aligned(alignof(T)), gnu::may_alias]] = T;

template <class T>
[[gnu::always_inline]] static inline Vec<T> load_vector(const T* from) {
  return *reinterpret_cast<const UnalignedVec<T>*>(from);
}

template <class T, class Vector>
[[gnu::always_inline]] static inline void store_vector(T* to, Vector value) {
  static_assert(sizeof(Vector) == kVectorBytes);
  *reinterpret_cast<UnalignedVec<T>*>(to) = value;
}

[[gnu::always_inline]] static inline Vec<float> load_vector(const bf16* from) {
  Vec<uint16_t, kVectorBytes / 2> bits;
  std::memcpy(&bits, from, sizeof bits);
  return reinterpret_cast<Vec<float>>(__builtin_convertvector(bits, Vec<uint32_t>) << 16);
}

/// Rounds as bf16 does.
[[gnu::always_inline]] static inline void store_vector(bf16* to, Vec<float> value) {
  const auto word = reinterpret_cast<Vec<uint32_t>>(value);
  const Vec<uint32_t> rounded = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
  const Vec<uint32_t> kept = (word & 0x7fffffffu) > 0x7f800000u ? (word >> 16) | 0x40u : rounded;
  const auto bits = __builtin_convertvector(kept, Vec<uint16_t, kVectorBytes / 2>);
  std::memcpy(static_cast<void*>(to), &bits, sizeof bits);
}

// What the compiler would convert element by element. The forms with a mask, since GCC 12 takes the others
// for uninitialized (bug 105593).
[[gnu::always_inline]] static inline Vec<float> load_vector(const f16* from) {
#if defined(__AVX512F__)
  return reinterpret_cast<Vec<float>>(
      _mm512_maskz_cvtph_ps(0xffff, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from))));
#elif defined(__AVX2__)
  return reinterpret_cast<Vec<float>>(
      _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from))));
#else
  Vec<_Float16, kVectorBytes / 2> values;
  std::memcpy(&values, from, sizeof values);
  return __builtin_convertvector(values, Vec<float>);
#endif
}

[[gnu::always_inline]] static inline void store_vector(f16* to, Vec<float> value) {
#if defined(__AVX512F__)
  const __m256i halves =
      _mm512_maskz_cvtps_ph(0xffff, reinterpret_cast<__m512>(value), _MM_FROUND_TO_NEAREST_INT);
#elif defined(__AVX2__)
  const __m128i halves = _mm256_cvtps_ph(reinterpret_cast<__m256>(value), _MM_FROUND_TO_NEAREST_INT);
#else
  const auto halves = __builtin_convertvector(value, Vec<_Float16, kVectorBytes / 2>);
#endif
  static_assert(sizeof halves == kVectorBytes / 2);
  std::memcpy(static_cast<void*>(to), &halves, sizeof halves);
}

template <class T>
[[gnu::always_inline]] static inline Vec<T> splat(T value) {
  return value - Vec<T>{};
}

template <class T>
[[gnu::always_inline]] static inline T max_lane(Vec<T> value) {
  T lanes[kLanes<T>];
  std::memcpy(lanes, &value, sizeof lanes);
#pragma GCC unroll 8
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] = lanes[i] < lanes[i + half] ? lanes[i + half] : lanes[i];
  }
  return lanes[0];
}

template <class T>
[[gnu::always_inline]] static inline T sum_lanes(Vec<T> value) {
  T lanes[kLanes<T>];
  std::memcpy(lanes, &value, sizeof lanes);
#pragma GCC unroll 8
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) lanes[i] += lanes[i + half];
  }
  return lanes[0];
}

/// exp(x) for x <= 0, to 2 units in the last place; below -87 it is 0, NaN stays NaN. x = n ln 2 + r with |r|
/// <= ln 2 / 2, e^r by the polynomial of Cephes' expf (Moshier), 2^n put together from its bits.
[[gnu::always_inline]] static inline Vec<float> exp_nonpositive(Vec<float> x) {
  const float lowest = -87.0f;
  const Vec<float> clamped = x < lowest ? splat(lowest) : x;
  const float shifter = 12582912.0f;  // 1.5 * 2^23: adding it rounds to a whole number, left in the low bits
  const Vec<float> shifted = clamped * 1.44269504088896341f + shifter;
  const Vec<float> n = shifted - shifter;
  const Vec<float> r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;
  Vec<float> p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * (r * r) + r + 1.0f;
  const auto bits = reinterpret_cast<Vec<int32_t>>(shifted);
  const auto power = reinterpret_cast<Vec<float>>((bits + 127) << 23);
  return x < lowest ? Vec<float>{} : p * power;
}

[[gnu::always_inline]] static inline Vec<double> exp_nonpositive(Vec<double> x) {
  for (int i = 0; i < kLanes<double>; ++i) x[i] = std::exp(x[i]);
  return x;
}

}  // namespace megalith::cpu
