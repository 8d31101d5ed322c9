#include "megalith/kernels/cuda/device/activation_functions.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/weighted_activation.h"

namespace megalith::cuda {
namespace {

constexpr int kRowWarps = 8;

// A warp has a row. All strides are those of contiguous rows.
template <class T, Activation kFunction, int kCount>
__global__ void forward_kernel(WeightedActivationArgs args) {
  const int64_t row = int64_t{blockIdx.x} * kRowWarps + threadIdx.y;
  if (row >= args.rows || (args.num_rows != nullptr && row >= *args.num_rows)) return;
  using A = acc_t<T>;
  const T* x = static_cast<const T*>(args.x) + row * args.cols * (args.is_gated ? 2 : 1);
  T* y = static_cast<T*>(args.y) + row * args.cols;
  const A weight = static_cast<const A*>(args.weights)[row];
  for (int64_t col = int64_t{threadIdx.x} * kCount; col < args.cols; col += kWarp * kCount) {
    A values[kCount];
    load_acc(x + col, values);
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = weight * evaluate<T, kFunction>(values[i]).value;
    if (args.is_gated) {
      A linear[kCount];
      load_acc(x + args.cols + col, linear);
#pragma unroll
      for (int i = 0; i < kCount; ++i) values[i] *= linear[i];
    }
    store_acc(y + col, values);
  }
}

template <class T, Activation kFunction, int kCount>
__global__ void backward_kernel(WeightedActivationBackwardArgs args) {
  const int64_t row = int64_t{blockIdx.x} * kRowWarps + threadIdx.y;
  if (row >= args.rows || (args.num_rows != nullptr && row >= *args.num_rows)) return;
  using A = acc_t<T>;
  const int64_t begin = row * args.cols * (args.is_gated ? 2 : 1);
  const T* x = static_cast<const T*>(args.x) + begin;
  const T* d_y = static_cast<const T*>(args.d_y) + row * args.cols;
  T* d_x = static_cast<T*>(args.d_x) + begin;
  const A weight = static_cast<const A*>(args.weights)[row];
  A dot = 0;
  for (int64_t col = int64_t{threadIdx.x} * kCount; col < args.cols; col += kWarp * kCount) {
    A gate[kCount], linear[kCount], slope[kCount];
    load_acc(x + col, gate);
    load_acc(d_y + col, slope);
    if (args.is_gated) load_acc(x + args.cols + col, linear);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const ValueAndSlope<A> f = evaluate<T, kFunction>(gate[i]);
      const A factor = args.is_gated ? linear[i] : A(1), d_value = slope[i];
      dot += d_value * f.value * factor;
      gate[i] = weight * d_value * f.slope * factor;
      linear[i] = weight * d_value * f.value;
    }
    store_acc(d_x + col, gate);
    if (args.is_gated) store_acc(d_x + args.cols + col, linear);
  }
  if (args.d_weights == nullptr) return;
  dot = warp_sum(dot);
  if (threadIdx.x == 0) static_cast<A*>(args.d_weights)[row] = dot;
}

// Calls work.operator()<T, function, elements of a vector>().
template <class Work>
void dispatch(DType dtype, Activation function, int64_t cols, std::initializer_list<const void*> places,
              const Work& work) {
  dispatch_device_float(dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const auto with = [&]<Activation kFunction>() {
      if (vectors_fit(kCount, sizeof(T), cols, {}, places))
        return work.template operator()<T, kFunction, kCount>();
      work.template operator()<T, kFunction, 1>();
    };
    switch (function) {
      case Activation::kGelu:
        return with.template operator()<Activation::kGelu>();
      case Activation::kGeluErf:
        return with.template operator()<Activation::kGeluErf>();
      case Activation::kRelu:
        return with.template operator()<Activation::kRelu>();
      case Activation::kSquaredRelu:
        return with.template operator()<Activation::kSquaredRelu>();
      case Activation::kSilu:
        return with.template operator()<Activation::kSilu>();
    }
  });
}

dim3 grid_of(int64_t rows) {
  return {narrow<unsigned>(ceil_div<int64_t>(rows, kRowWarps))};
}

}  // namespace

void weighted_activation(const WeightedActivationArgs& args, Exec& exec) {
  if (args.rows == 0 || args.cols == 0) return;
  dispatch(args.dtype, args.function, args.cols, {args.x, args.y},
           [&]<class T, Activation kFunction, int kCount>() {
             forward_kernel<T, kFunction, kCount>
                 <<<grid_of(args.rows), dim3(kWarp, kRowWarps), 0, exec.cuda().stream()>>>(args);
           });
  MG_CUDA_LAUNCHED();
}

void weighted_activation_backward(const WeightedActivationBackwardArgs& args, Exec& exec) {
  if (args.rows == 0) return;
  dispatch(args.dtype, args.function, args.cols, {args.x, args.d_y, args.d_x},
           [&]<class T, Activation kFunction, int kCount>() {
             backward_kernel<T, kFunction, kCount>
                 <<<grid_of(args.rows), dim3(kWarp, kRowWarps), 0, exec.cuda().stream()>>>(args);
           });
  MG_CUDA_LAUNCHED();
}

}  // namespace megalith::cuda
