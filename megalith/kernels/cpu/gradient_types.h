#pragma once
// defines: dispatch_gradient

#include "megalith/kernels/cpu/float_types.h"

namespace megalith::cpu {

/// Calls `work.operator()<Gradient>()` with what the gradient of a weight is kept in when rows of T are
/// summed: the type of the sums, or for bf16 as well bf16. The op has checked the dtype before.
template <class T, class Work>
[[gnu::always_inline]] static inline void dispatch_gradient(DType dtype, Work work) {
  if constexpr (__is_same(T, bf16)) {
    if (dtype == DType::kBF16) return work.template operator()<bf16>();
  }
  work.template operator()<accumulate_t<T>>();
}

}  // namespace megalith::cpu
