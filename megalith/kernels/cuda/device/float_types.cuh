#pragma once
// defines: Bf16, acc_t, kVectorBytes, to_acc, from_acc, Vector, load_vector, load_acc, store_acc,
// dispatch_device_float

#include <cstdint>

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include "megalith/core/dtype.h"

namespace megalith::cuda {

using Bf16 = __nv_bfloat16;

/// What sums and single values of T are computed in.
template <class T>
struct AccOf {
  using type = float;
};
template <>
struct AccOf<double> {
  using type = double;
};
template <class T>
using acc_t = typename AccOf<T>::type;

/// What one thread reads or writes at once.
constexpr int kVectorBytes = 16;

template <class T>
__device__ inline acc_t<T> to_acc(T value) {
  return static_cast<acc_t<T>>(value);
}
template <>
__device__ inline float to_acc(Bf16 value) {
  return __bfloat162float(value);
}

template <class T>
__device__ inline T from_acc(acc_t<T> value) {
  return static_cast<T>(value);
}
template <>
__device__ inline Bf16 from_acc<Bf16>(float value) {
  return __float2bfloat16_rn(value);
}

template <class T, int kCount>
struct alignas(sizeof(T) * kCount) Vector {
  T element[kCount];
};

/// kCount elements in one access; the place is aligned to their size.
template <int kCount, class T>
__device__ inline Vector<T, kCount> load_vector(const T* place) {
  return *reinterpret_cast<const Vector<T, kCount>*>(place);
}
template <int kCount, class T>
__device__ inline void to_acc(const Vector<T, kCount>& vector, acc_t<T> (&values)[kCount]) {
#pragma unroll
  for (int i = 0; i < kCount; ++i) values[i] = to_acc(vector.element[i]);
}
template <int kCount, class T>
__device__ inline void load_acc(const T* place, acc_t<T> (&values)[kCount]) {
  to_acc(load_vector<kCount>(place), values);
}
template <int kCount, class T>
__device__ inline void store_acc(T* place, const acc_t<T> (&values)[kCount]) {
  Vector<T, kCount> vector;
#pragma unroll
  for (int i = 0; i < kCount; ++i) vector.element[i] = from_acc<T>(values[i]);
  *reinterpret_cast<Vector<T, kCount>*>(place) = vector;
}

/// Calls `work.operator()<T>()` with the device's type for f64, f32, bf16 or f16; the op has checked the
/// dtype.
template <class Work>
void dispatch_device_float(DType dtype, Work&& work) {
  if (dtype == DType::kF64) return work.template operator()<double>();
  if (dtype == DType::kBF16) return work.template operator()<Bf16>();
  if (dtype == DType::kF16) return work.template operator()<__half>();
  work.template operator()<float>();
}

}  // namespace megalith::cuda
