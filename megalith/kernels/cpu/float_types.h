#pragma once
// defines: dispatch_float, load, store

#include "megalith/core/dtype.h"

namespace megalith::cpu {

/// dispatch_dtype for f64, f32, bf16 and f16 inside *.simd.cpp files: no message, no symbol of its own. The
/// op has checked the dtype before.
template <class Work>
[[gnu::always_inline]] static inline void dispatch_float(DType dtype, Work work) {
  if (dtype == DType::kF64) return work.template operator()<double>();
  if (dtype == DType::kBF16) return work.template operator()<bf16>();
  if (dtype == DType::kF16) return work.template operator()<f16>();
  return work.template operator()<float>();
}

/// One element as the type it is computed in, and back. By way of bf16's bits: a loop that stores the struct
/// itself does not vectorise.
template <class T>
[[gnu::always_inline]] static inline accumulate_t<T> load(const T& place) {
  if constexpr (__is_same(T, bf16)) {
    return __builtin_bit_cast(float, static_cast<uint32_t>(place.bits) << 16);
  } else if constexpr (__is_same(T, f16)) {
    return static_cast<float>(place);
  } else {
    return place;
  }
}
template <class T>
[[gnu::always_inline]] static inline void store(T& place, accumulate_t<T> value) {
  if constexpr (__is_same(T, bf16)) {
    place.bits = bf16(value).bits;
  } else if constexpr (__is_same(T, f16)) {
    place.bits = f16(value).bits;
  } else {
    place = value;
  }
}

}  // namespace megalith::cpu
