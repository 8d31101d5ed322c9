#pragma once
// defines: Activation, ValueAndSlope, evaluate, activation_value

#include <type_traits>

#include "megalith/kernels/cpu/activation.h"
#include "megalith/kernels/cuda/device/float_types.cuh"

namespace megalith::cuda {

using cpu::Activation;

template <class A>
struct ValueAndSlope {
  A value, slope;
};

template <class T>
__device__ inline acc_t<T> sigmoid(acc_t<T> x) {
  if constexpr (sizeof(T) == 2) {
    return __fdividef(1.0f, 1.0f + __expf(-x));  // 0 where the exponential is infinite
  } else {
    return 1 / (1 + exp(-x));
  }
}

/// f(x) and f'(x) of one element. A forward pass uses the value alone and the compiler drops the slope.
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

/// f(x) of a function that is known when the kernel runs.
template <class T>
__device__ inline acc_t<T> activation_value(Activation function, acc_t<T> x) {
  switch (function) {
    case Activation::kGelu:
      return evaluate<T, Activation::kGelu>(x).value;
    case Activation::kGeluErf:
      return evaluate<T, Activation::kGeluErf>(x).value;
    case Activation::kRelu:
      return evaluate<T, Activation::kRelu>(x).value;
    case Activation::kSquaredRelu:
      return evaluate<T, Activation::kSquaredRelu>(x).value;
    case Activation::kSilu:
      break;
  }
  return evaluate<T, Activation::kSilu>(x).value;
}

}  // namespace megalith::cuda
