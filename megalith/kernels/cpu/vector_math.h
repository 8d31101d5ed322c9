#pragma once
// defines: exp_of, log_of, tanh_of, sigmoid_of, erf_of (float and double)

#include <cstdint>

namespace megalith::cpu {

// Branch-free float versions, so that a loop over them vectorises, with relative errors of about 2e-7 (a few
// units in the last place; tests/kernels hold them to it). NaN comes through. The double versions are the C
// library's.
//
// Method: range reduction and truncated Taylor or atanh series, whose coefficients are closed forms; only the
// tail of erf is a fit.

/// The integer nearest to x, |x| < 2^22, as a float and as an int: adding 1.5 * 2^23 shifts the fraction out.
struct RoundedFloat {
  float value;
  int32_t integer;
};
[[gnu::always_inline]] static inline RoundedFloat round_to_int(float x) {
  const float shifted = x + 0x1.8p23f;
  return {shifted - 0x1.8p23f, __builtin_bit_cast(int32_t, shifted) - __builtin_bit_cast(int32_t, 0x1.8p23f)};
}

/// 2^n for -126 <= n <= 127.
[[gnu::always_inline]] static inline float power_of_two(int32_t n) {
  return __builtin_bit_cast(float, static_cast<uint32_t>(n + 127) << 23);
}

/// e^r - 1 for |r| <= ln(2) / 2: the Taylor series to r^7, whose next term is below 6e-9 of r.
[[gnu::always_inline]] static inline float expm1_reduced(float r) {
  float sum = 1.0f / 5040;
  sum = sum * r + 1.0f / 720;
  sum = sum * r + 1.0f / 120;
  sum = sum * r + 1.0f / 24;
  sum = sum * r + 1.0f / 6;
  sum = sum * r + 0.5f;
  return r + r * r * sum;
}

/// x = n ln 2 + r; ln 2 in two parts, the first short enough for n * high to be exact.
struct ReducedExponent {
  int32_t n;
  float r;
};
[[gnu::always_inline]] static inline ReducedExponent reduce_exponent(float x) {
  constexpr float kLog2E = 0x1.715476p+0f;
  constexpr float kLn2High = 0x1.62e4p-1f;
  constexpr float kLn2Low = 0x1.7f7d1cp-20f;
  const RoundedFloat n = round_to_int(x * kLog2E);
  return {n.integer, (x - n.value * kLn2High) - n.value * kLn2Low};
}

[[gnu::always_inline]] static inline float exp_of(float x) {
  // Beyond these ends the result is infinite, or less than half of the smallest number. Written so that NaN
  // fails both comparisons and stays.
  x = x > 89.0f ? 89.0f : x;
  x = x < -104.0f ? -104.0f : x;
  const ReducedExponent reduced = reduce_exponent(x);
  // In two factors, since 2^n alone may leave the range of normal numbers.
  const int32_t half = reduced.n >> 1;
  return (expm1_reduced(reduced.r) + 1.0f) * power_of_two(half) * power_of_two(reduced.n - half);
}

/// tanh |x| = m / (m + 2) with m = e^(2 |x|) - 1, which keeps the relative error near 0.
[[gnu::always_inline]] static inline float tanh_of(float x) {
  const float magnitude = __builtin_fabsf(x);
  const float twice = magnitude > 10.0f ? 20.0f : 2.0f * magnitude;  // tanh(10) rounds to 1
  const ReducedExponent reduced = reduce_exponent(twice);
  const float scale = power_of_two(reduced.n & 63);  // n <= 29; the mask keeps the shift defined for NaN
  const float m = scale * expm1_reduced(reduced.r) + (scale - 1.0f);
  return __builtin_copysignf(m / (m + 2.0f), x);
}

[[gnu::always_inline]] static inline float sigmoid_of(float x) {
  return 1.0f / (1.0f + exp_of(-x));
}

/// log x = n ln 2 + 2 atanh(s), s = (m - 1) / (m + 1), with m in [sqrt(1/2), sqrt(2)): |s| < 0.172, and the
/// series of atanh to s^9 leaves 2e-9 of s.
[[gnu::always_inline]] static inline float log_of(float x) {
  const bool is_subnormal = x < 0x1p-126f;
  const float scaled = is_subnormal ? x * 0x1p23f : x;
  const uint32_t bits = __builtin_bit_cast(uint32_t, scaled);
  const uint32_t offset = bits - 0x3f3504f3u;  // sqrt(1/2)
  const int32_t exponent = static_cast<int32_t>(offset) >> 23;
  const float m = __builtin_bit_cast(float, (offset & 0x007fffffu) + 0x3f3504f3u);
  const float n = static_cast<float>(exponent) - (is_subnormal ? 23.0f : 0.0f);
  const float s = (m - 1.0f) / (m + 1.0f);
  const float s2 = s * s;
  float sum = 1.0f / 9;
  sum = sum * s2 + 1.0f / 7;
  sum = sum * s2 + 1.0f / 5;
  sum = sum * s2 + 1.0f / 3;
  const float atanh_twice = 2.0f * (s + s * s2 * sum);
  const float result = n * 0x1.62e4p-1f + (atanh_twice + n * 0x1.7f7d1cp-20f);
  const float infinity = __builtin_inff();
  const float special = x == 0.0f ? -infinity : (x > 0.0f ? x : __builtin_nanf(""));
  const bool is_ordinary = (x > 0.0f) & (x < infinity);
  return is_ordinary ? result : special;
}

/// The Taylor series below 1; above it erf = 1 - e^(-x^2) q(t), t = 1 / (1 + x / 2), q the Chebyshev
/// expansion of e^(x^2) erfc(x) over x in [1, 4] to degree 7 (the next term is below 1e-10), in powers of w =
/// 6 t - 3.
[[gnu::always_inline]] static inline float erf_of(float x) {
  const float magnitude = __builtin_fabsf(x);
  const float small = magnitude < 1.0f ? magnitude : 1.0f;
  const float z = -small * small;
  float series = 1.0f / 76204800;  // 1 / (10! 21)
  series = series * z + 1.0f / 6894720;
  series = series * z + 1.0f / 685440;
  series = series * z + 1.0f / 75600;
  series = series * z + 1.0f / 9360;
  series = series * z + 1.0f / 1320;
  series = series * z + 1.0f / 216;
  series = series * z + 1.0f / 42;
  series = series * z + 1.0f / 10;
  series = series * z + 1.0f / 3;
  series = series * z + 1.0f;
  constexpr float kTwoOverSqrtPi = 1.12837916709551257390f;
  const float near = kTwoOverSqrtPi * small * series;

  const float large = magnitude > 4.0f ? 4.0f : magnitude;
  const float t = 1.0f / (1.0f + 0.5f * large);
  const float w = 6.0f * t - 3.0f;
  float tail = 4.296057268e-07f;
  tail = tail * w - 1.147561216e-06f;
  tail = tail * w - 2.878172047e-05f;
  tail = tail * w + 4.607578234e-05f;
  tail = tail * w + 2.925128643e-03f;
  tail = tail * w + 2.685091236e-02f;
  tail = tail * w + 1.423952828e-01f;
  tail = tail * w + 2.553956763e-01f;
  const float far = 1.0f - exp_of(-large * large) * tail;
  return __builtin_copysignf(magnitude < 1.0f ? near : far, x);
}

[[gnu::always_inline]] static inline double exp_of(double x) {
  return __builtin_exp(x);
}
[[gnu::always_inline]] static inline double tanh_of(double x) {
  return __builtin_tanh(x);
}
[[gnu::always_inline]] static inline double sigmoid_of(double x) {
  return 1.0 / (1.0 + __builtin_exp(-x));
}
[[gnu::always_inline]] static inline double log_of(double x) {
  return __builtin_log(x);
}
[[gnu::always_inline]] static inline double erf_of(double x) {
  return __builtin_erf(x);
}

}  // namespace megalith::cpu
