#pragma once
// defines: NormPlaces, norm_row

#include "megalith/kernels/cpu/norm.h"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"

namespace megalith::cuda {

/// Where rows come from and go to: the x and y of the arguments.
template <class T>
struct NormPlaces {
  cpu::NormArgs args;
  __device__ const T* x_row(int64_t row) const {
    return static_cast<const T*>(args.x) + cpu::row_offset(row, args.x_stride, args.heads, args.cols);
  }
  template <int kCount>
  __device__ void load(int64_t row, int64_t col, acc_t<T> (&x)[kCount]) const {
    load_acc(x_row(row) + col, x);
  }
  template <int kCount>
  __device__ void store(int64_t row, int64_t col, const acc_t<T> (&y)[kCount]) const {
    store_acc(static_cast<T*>(args.y) + cpu::row_offset(row, args.y_stride, args.heads, args.cols) + col, y);
  }
};

// Where a product is added it is fused by name: kernels that norm a row in another way give the same bits.
// With kOneVector every thread holds its only vector of the row in registers; else rows are read again.
template <class T, int kCount, bool kOneVector, class Places>
__global__ __launch_bounds__(kMaxRowThreads) void norm_row(const __grid_constant__ cpu::NormArgs args,
                                                           const __grid_constant__ Places places) {
  using A = acc_t<T>;
  __shared__ A shared[kWarp];
  let_next_begin();
  wait_for_last();
  const int64_t row = blockIdx.x;
  const int64_t step = int64_t{blockDim.x} * kCount;
  const int64_t begin = int64_t{threadIdx.x} * kCount;
  const auto at = [&](int64_t stride) { return cpu::row_offset(row, stride, args.heads, args.cols); };
  T* sum = static_cast<T*>(args.sum) + at(args.sum_stride);
  const T* source = args.sum != nullptr ? sum : places.x_row(row);
  A value[kCount] = {};

  A total = 0;
  for (int64_t col = begin; col < args.cols; col += step) {
    places.template load<kCount>(row, col, value);
    if (args.residual != nullptr) {
      A residual[kCount];
      load_acc(static_cast<const T*>(args.residual) + at(args.residual_stride) + col, residual);
      // What was rounded is what is normalised, so that the backward sees the same x.
#pragma unroll
      for (int i = 0; i < kCount; ++i) value[i] = to_acc(from_acc<T>(value[i] + residual[i]));
    }
    if (args.sum != nullptr) store_acc(sum + col, value);
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      total = args.subtract_mean ? total + value[i] : fma(value[i], value[i], total);
  }
  total = block_sum(total, shared);

  A mean = 0;
  if (args.subtract_mean) {
    mean = total / static_cast<A>(args.cols);
    total = 0;
    for (int64_t col = begin; col < args.cols; col += step) {
      if constexpr (!kOneVector) load_acc(source + col, value);
#pragma unroll
      for (int i = 0; i < kCount; ++i) total = fma(value[i] - mean, value[i] - mean, total);
    }
    total = block_sum(total, shared);
    if (threadIdx.x == 0) static_cast<A*>(args.mean)[row] = mean;
  }
  const A rstd = 1 / sqrt(total / static_cast<A>(args.cols) + static_cast<A>(args.eps));
  if (threadIdx.x == 0) static_cast<A*>(args.rstd)[row] = rstd;

  for (int64_t col = begin; col < args.cols; col += step) {
    if constexpr (!kOneVector) load_acc(source + col, value);
    A weight[kCount], bias[kCount] = {}, y[kCount];
    load_acc(static_cast<const T*>(args.weight) + col, weight);
    if (args.bias != nullptr) load_acc(static_cast<const T*>(args.bias) + col, bias);
#pragma unroll
    for (int i = 0; i < kCount; ++i) y[i] = fma((value[i] - mean) * rstd, weight[i], bias[i]);
    places.template store<kCount>(row, col, y);
  }
}

}  // namespace megalith::cuda
