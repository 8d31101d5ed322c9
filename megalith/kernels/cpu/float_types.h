#pragma once
// defines: dispatch_float

#include "megalith/core/dtype.h"

namespace megalith::cpu {

/// dispatch_dtype for f64, f32 and bf16 inside *.simd.cpp files: no message, no symbol of its own. The op has
/// checked the dtype before.
template <class Work>
[[gnu::always_inline]] static inline void dispatch_float(DType dtype, Work work) {
  if (dtype == DType::kF64) return work.template operator()<double>();
  if (dtype == DType::kBF16) return work.template operator()<bf16>();
  return work.template operator()<float>();
}

}  // namespace megalith::cpu
