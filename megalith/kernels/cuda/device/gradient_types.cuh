#pragma once
// defines: dispatch_gradient

#include <type_traits>

#include "megalith/kernels/cuda/device/float_types.cuh"

namespace megalith::cuda {

/// Calls `work.operator()<Gradient>()` with what the gradient of a weight is kept in when rows of T are
/// summed: the type of the sums, or for bf16 as well bf16. The op has checked the dtype before.
template <class T, class Work>
void dispatch_gradient(DType dtype, Work&& work) {
  if constexpr (std::is_same_v<T, Bf16>) {
    if (dtype == DType::kBF16) return work.template operator()<Bf16>();
  }
  work.template operator()<acc_t<T>>();
}

}  // namespace megalith::cuda
