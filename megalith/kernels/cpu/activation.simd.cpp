#include "megalith/kernels/cpu/activation.h"

#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/tiles.h"
#include "megalith/kernels/cpu/vector_math.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class Acc>
struct ValueAndSlope {
  Acc value, slope;
};

// f(x) and f'(x) of one element. A forward pass uses the value alone and the compiler drops the slope.
template <Activation kFunction, class Acc>
[[gnu::always_inline]] inline ValueAndSlope<Acc> evaluate(Acc x) {
  if constexpr (kFunction == Activation::kGelu) {
    // x / 2 (1 + tanh(u)) = x sigmoid(2 u), u = sqrt(2 / pi) (x + 0.044715 x^3)
    constexpr Acc kTwoSqrtTwoOverPi = static_cast<Acc>(1.59576912160573071176);
    constexpr Acc kCubic = static_cast<Acc>(0.044715);
    const Acc s = sigmoid_of(kTwoSqrtTwoOverPi * (x + kCubic * x * x * x));
    return {x * s, s + x * s * (1 - s) * (kTwoSqrtTwoOverPi * (1 + 3 * kCubic * x * x))};
  } else if constexpr (kFunction == Activation::kGeluErf) {
    // x Phi(x); slope Phi(x) + x phi(x)
    constexpr Acc kSqrtHalf = static_cast<Acc>(0.70710678118654752440);
    constexpr Acc kOneOverSqrtTwoPi = static_cast<Acc>(0.39894228040143267794);
    const Acc probability = static_cast<Acc>(0.5) * (1 + erf_of(x * kSqrtHalf));
    const Acc density = kOneOverSqrtTwoPi * exp_of(static_cast<Acc>(-0.5) * x * x);
    return {x * probability, probability + x * density};
  } else if constexpr (kFunction == Activation::kRelu) {
    // Written so that NaN comes through.
    return {x < 0 ? 0 : x, x > 0 ? static_cast<Acc>(1) : static_cast<Acc>(0)};
  } else if constexpr (kFunction == Activation::kSquaredRelu) {
    const Acc positive = x < 0 ? 0 : x;
    return {positive * positive, 2 * positive};
  } else {
    const Acc s = sigmoid_of(x);
    return {x * s, s * (1 + x * (1 - s))};
  }
}

template <class T, Activation kFunction>
void forward_tiles(const ActivationArgs& args) {
  const int64_t tiles = num_tiles(args.rows, args.cols);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t index = 0; index < tiles; ++index) {
    const Tile tile = tile_at(index, args.cols);
    const T* x = static_cast<const T*>(args.x) + tile.row * args.x_stride;
    T* y = static_cast<T*>(args.y) + tile.row * args.y_stride;
    if (args.is_gated) {
      const T* linear = x + args.cols;
#pragma omp simd
      for (int64_t i = tile.begin; i < tile.end; ++i) {
        store(y[i], evaluate<kFunction>(load(x[i])).value * load(linear[i]));
      }
    } else {
#pragma omp simd
      for (int64_t i = tile.begin; i < tile.end; ++i) {
        store(y[i], evaluate<kFunction>(load(x[i])).value);
      }
    }
  }
}

template <class T, Activation kFunction>
void backward_tiles(const ActivationBackwardArgs& args) {
  using Acc = accumulate_t<T>;
  const int64_t tiles = num_tiles(args.rows, args.cols);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t index = 0; index < tiles; ++index) {
    const Tile tile = tile_at(index, args.cols);
    const T* x = static_cast<const T*>(args.x) + tile.row * args.x_stride;
    const T* d_y = static_cast<const T*>(args.d_y) + tile.row * args.d_y_stride;
    T* d_x = static_cast<T*>(args.d_x) + tile.row * args.d_x_stride;
    if (args.is_gated) {
      const T* linear = x + args.cols;
      T* d_linear = d_x + args.cols;
#pragma omp simd
      for (int64_t i = tile.begin; i < tile.end; ++i) {
        const ValueAndSlope<Acc> f = evaluate<kFunction>(load(x[i]));
        const Acc slope = load(d_y[i]);
        const Acc factor = load(linear[i]);
        store(d_x[i], slope * factor * f.slope);
        store(d_linear[i], slope * f.value);
      }
    } else {
#pragma omp simd
      for (int64_t i = tile.begin; i < tile.end; ++i) {
        store(d_x[i], load(d_y[i]) * evaluate<kFunction>(load(x[i])).slope);
      }
    }
  }
}

template <class Work>
[[gnu::always_inline]] inline void dispatch_function(Activation function, Work work) {
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

void activation(const ActivationArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() {
    dispatch_function(args.function, [&]<Activation kFunction>() { forward_tiles<T, kFunction>(args); });
  });
}

void activation_backward(const ActivationBackwardArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() {
    dispatch_function(args.function, [&]<Activation kFunction>() { backward_tiles<T, kFunction>(args); });
  });
}

}  // namespace megalith::cpu::MG_ISA
