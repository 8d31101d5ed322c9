#include "megalith/kernels/cuda/activation.h"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"

namespace megalith::cuda {
namespace {

using cpu::Activation;

template <class A>
struct ValueAndSlope {
  A value, slope;
};

template <class T>
__device__ inline acc_t<T> sigmoid(acc_t<T> x) {
  if constexpr (std::is_same_v<T, Bf16>) {
    return __fdividef(1.0f, 1.0f + __expf(-x));  // 0 where the exponential is infinite
  } else {
    return 1 / (1 + exp(-x));
  }
}

// f(x) and f'(x) of one element. A forward pass uses the value alone and the compiler drops the slope.
template <class T, Activation kFunction>
__device__ inline ValueAndSlope<acc_t<T>> evaluate(acc_t<T> x) {
  using A = acc_t<T>;
  if constexpr (kFunction == Activation::kGelu) {
    // x / 2 (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    constexpr A kTwoSqrtTwoOverPi = static_cast<A>(1.59576912160573071176);
    constexpr A kCubic = static_cast<A>(0.044715);
    const A s = sigmoid<T>(kTwoSqrtTwoOverPi * (x + kCubic * x * x * x));
    return {x * s, s + x * s * (1 - s) * (kTwoSqrtTwoOverPi * (1 + 3 * kCubic * x * x))};
  } else if constexpr (kFunction == Activation::kGeluErf) {
    // x Phi(x); slope Phi(x) + x phi(x)
    constexpr A kSqrtHalf = static_cast<A>(0.70710678118654752440);
    constexpr A kOneOverSqrtTwoPi = static_cast<A>(0.39894228040143267794);
    const A probability = static_cast<A>(0.5) * (1 + erf(x * kSqrtHalf));
    const A density = kOneOverSqrtTwoPi * exp(static_cast<A>(-0.5) * x * x);
    return {x * probability, probability + x * density};
  } else if constexpr (kFunction == Activation::kRelu) {
    // Written so that NaN comes through.
    return {x < 0 ? A(0) : x, x > 0 ? A(1) : A(0)};
  } else if constexpr (kFunction == Activation::kSquaredRelu) {
    const A positive = x < 0 ? A(0) : x;
    return {positive * positive, 2 * positive};
  } else {
    const A s = sigmoid<T>(x);
    return {x * s, s * (1 + x * (1 - s))};
  }
}

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
