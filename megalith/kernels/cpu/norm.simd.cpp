#include "megalith/kernels/cpu/norm.h"

#include <algorithm>

#include "megalith/kernels/cpu/float_types.h"

namespace megalith::cpu::MG_ISA {
namespace {

template <class T, bool kSubtractMean>
void norm_rows(const NormArgs& args) {
  using Acc = accumulate_t<T>;
  const int64_t cols = args.cols;
  const T* weight = static_cast<const T*>(args.weight);
  const T* bias = static_cast<const T*>(args.bias);
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t row = 0; row < args.rows; ++row) {
    const auto at = [&](int64_t stride) { return row_offset(row, stride, args.heads, cols); };
    const T* x = static_cast<const T*>(args.x) + at(args.x_stride);
    if (args.residual != nullptr) {
      const T* residual = static_cast<const T*>(args.residual) + at(args.residual_stride);
      T* sum = static_cast<T*>(args.sum) + at(args.sum_stride);
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) store(sum[c], load(x[c]) + load(residual[c]));
      // What was rounded is what is normalised, so that the backward sees the same x.
      x = sum;
    } else if (args.sum != nullptr) {
      T* copy = static_cast<T*>(args.sum) + at(args.sum_stride);
      std::copy(x, x + cols, copy);
      x = copy;
    }
    Acc mean = 0;
    if constexpr (kSubtractMean) {
#pragma omp simd reduction(+ : mean)
      for (int64_t c = 0; c < cols; ++c) mean += load(x[c]);
      mean /= static_cast<Acc>(cols);
      static_cast<Acc*>(args.mean)[row] = mean;
    }
    Acc squares = 0;
#pragma omp simd reduction(+ : squares)
    for (int64_t c = 0; c < cols; ++c) {
      const Acc value = load(x[c]) - mean;
      squares += value * value;
    }
    const double variance = static_cast<double>(squares) / static_cast<double>(cols);
    const Acc rstd = static_cast<Acc>(1 / __builtin_sqrt(variance + args.eps));
    static_cast<Acc*>(args.rstd)[row] = rstd;
    T* y = static_cast<T*>(args.y) + at(args.y_stride);
    if (bias != nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) {
        const Acc unit = (load(x[c]) - mean) * rstd;
        store(y[c], unit * load(weight[c]) + load(bias[c]));
      }
    } else {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) {
        store(y[c], (load(x[c]) - mean) * rstd * load(weight[c]));
      }
    }
  }
}

}  // namespace

void norm(const NormArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() {
    if (args.subtract_mean) {
      norm_rows<T, true>(args);
    } else {
      norm_rows<T, false>(args);
    }
  });
}

}  // namespace megalith::cpu::MG_ISA
