#include "megalith/kernels/cuda/activation.h"
#include "megalith/kernels/cuda/device/activation_functions.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"

namespace megalith::cuda {
namespace {

template <class T, Activation kFunction, int kCount>
struct ForwardRows {
  cpu::ActivationArgs args;
  __device__ void operator()(int64_t row, int64_t vector) const {
    using A = acc_t<T>;
    const T* x_place = static_cast<const T*>(args.x) + row * args.x_stride + vector * kCount;
    A x[kCount];
    load_acc(x_place, x);
#pragma unroll
    for (int i = 0; i < kCount; ++i) x[i] = evaluate<T, kFunction>(x[i]).value;
    if (args.is_gated) {
      A linear[kCount];
      load_acc(x_place + args.cols, linear);
#pragma unroll
      for (int i = 0; i < kCount; ++i) x[i] *= linear[i];
    }
    store_acc(static_cast<T*>(args.y) + row * args.y_stride + vector * kCount, x);
  }
};

template <class T, Activation kFunction, int kCount>
struct BackwardRows {
  cpu::ActivationBackwardArgs args;
  __device__ void operator()(int64_t row, int64_t vector) const {
    using A = acc_t<T>;
    const T* x_place = static_cast<const T*>(args.x) + row * args.x_stride + vector * kCount;
    T* d_x_place = static_cast<T*>(args.d_x) + row * args.d_x_stride + vector * kCount;
    A x[kCount], d_y[kCount], linear[kCount];
    load_acc(x_place, x);
    load_acc(static_cast<const T*>(args.d_y) + row * args.d_y_stride + vector * kCount, d_y);
    if (args.is_gated) load_acc(x_place + args.cols, linear);
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const ValueAndSlope<A> f = evaluate<T, kFunction>(x[i]);
      if (args.is_gated) {
        x[i] = d_y[i] * linear[i] * f.slope;
        linear[i] = d_y[i] * f.value;
      } else {
        x[i] = d_y[i] * f.slope;
      }
    }
    store_acc(d_x_place, x);
    if (args.is_gated) store_acc(d_x_place + args.cols, linear);
  }
};

template <class Work>
void dispatch_function(Activation function, Work&& work) {
  switch (function) {
    case Activation::kGelu:
      return work.template operator()<Activation::kGelu>();
    case Activation::kGeluErf:
      return work.template operator()<Activation::kGeluErf>();
    case Activation::kRelu:
      return work.template operator()<Activation::kRelu>();
    case Activation::kSquaredRelu:
      return work.template operator()<Activation::kSquaredRelu>();
    case Activation::kSilu:
      return work.template operator()<Activation::kSilu>();
  }
}

}  // namespace

void activation(const cpu::ActivationArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool is_flat = args.rows == 1 && !args.is_gated;
    const bool fits =
        vectors_fit(kCount, sizeof(T), args.cols, {is_flat ? 0 : args.x_stride, is_flat ? 0 : args.y_stride},
                    {args.x, args.y});
    dispatch_function(args.function, [&]<Activation kFunction>() {
      if (fits) {
        return launch_rows(ForwardRows<T, kFunction, kCount>{args}, args.rows, args.cols / kCount, exec);
      }
      launch_rows(ForwardRows<T, kFunction, 1>{args}, args.rows, args.cols, exec);
    });
  });
}

void activation_backward(const cpu::ActivationBackwardArgs& args, Exec& exec) {
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool is_flat = args.rows == 1 && !args.is_gated;
    const auto stride = [&](int64_t value) { return is_flat ? 0 : value; };
    const bool fits = vectors_fit(kCount, sizeof(T), args.cols,
                                  {stride(args.x_stride), stride(args.d_y_stride), stride(args.d_x_stride)},
                                  {args.x, args.d_y, args.d_x});
    dispatch_function(args.function, [&]<Activation kFunction>() {
      if (fits) {
        return launch_rows(BackwardRows<T, kFunction, kCount>{args}, args.rows, args.cols / kCount, exec);
      }
      launch_rows(BackwardRows<T, kFunction, 1>{args}, args.rows, args.cols, exec);
    });
  });
}

}  // namespace megalith::cuda
