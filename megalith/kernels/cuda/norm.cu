#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/norm.h"

namespace megalith::cuda {
namespace {

// With kOneVector every thread holds its only vector of the row in registers; else rows are read again.
template <class T, int kCount, bool kOneVector>
__global__ __launch_bounds__(kMaxRowThreads) void norm_row(cpu::NormArgs args) {
  using A = acc_t<T>;
  __shared__ A shared[kWarp];
  const int64_t row = blockIdx.x;
  const int64_t step = int64_t{blockDim.x} * kCount;
  const int64_t begin = int64_t{threadIdx.x} * kCount;
  const T* x = static_cast<const T*>(args.x) + row * args.x_stride;
  T* sum = static_cast<T*>(args.sum) + row * args.sum_stride;
  const T* source = args.residual != nullptr ? sum : x;
  A value[kCount] = {};

  A total = 0;
  for (int64_t col = begin; col < args.cols; col += step) {
    load_acc(x + col, value);
    if (args.residual != nullptr) {
      A residual[kCount];
      load_acc(static_cast<const T*>(args.residual) + row * args.residual_stride + col, residual);
      // What was rounded is what is normalised, so that the backward sees the same x.
#pragma unroll
      for (int i = 0; i < kCount; ++i) value[i] = to_acc(from_acc<T>(value[i] + residual[i]));
      store_acc(sum + col, value);
    }
#pragma unroll
    for (int i = 0; i < kCount; ++i) total += args.subtract_mean ? value[i] : value[i] * value[i];
  }
  total = block_sum(total, shared);

  A mean = 0;
  if (args.subtract_mean) {
    mean = total / static_cast<A>(args.cols);
    total = 0;
    for (int64_t col = begin; col < args.cols; col += step) {
      if constexpr (!kOneVector) load_acc(source + col, value);
#pragma unroll
      for (int i = 0; i < kCount; ++i) total += (value[i] - mean) * (value[i] - mean);
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
    for (int i = 0; i < kCount; ++i) y[i] = (value[i] - mean) * rstd * weight[i] + bias[i];
    store_acc(static_cast<T*>(args.y) + row * args.y_stride + col, y);
  }
}

template <class T, int kCount>
void launch(const cpu::NormArgs& args, Exec& exec) {
  const int64_t vectors = args.cols / kCount;
  const int threads = threads_for_row(vectors);
  const auto rows = narrow<unsigned>(args.rows);
  if (vectors <= threads) {
    norm_row<T, kCount, true><<<rows, threads, 0, exec.cuda().stream()>>>(args);
  } else {
    norm_row<T, kCount, false><<<rows, threads, 0, exec.cuda().stream()>>>(args);
  }
  MG_CUDA_LAUNCHED();
}

}  // namespace

void norm(const cpu::NormArgs& args, Exec& exec) {
  if (args.rows == 0) return;
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool fits = vectors_fit(kCount, sizeof(T), args.cols,
                                  {args.x_stride, args.residual_stride, args.sum_stride, args.y_stride},
                                  {args.x, args.residual, args.sum, args.y, args.weight, args.bias});
    if (fits) return launch<T, kCount>(args, exec);
    launch<T, 1>(args, exec);
  });
}

}  // namespace megalith::cuda
