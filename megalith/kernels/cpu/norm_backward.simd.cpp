#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/norm.h"
#include "megalith/kernels/cpu/partials.h"

namespace megalith::cpu::MG_ISA {
namespace {

// With u = (x - mean) * rstd and g = d_y * w:
//   d_x = rstd * (g - mean(g) - u * mean(g u)) + d_sum, without mean(g) for RMSNorm;
//   d_w = sum over rows of d_y u;  d_b = sum over rows of d_y.
template <class T, bool kSubtractMean>
struct RowBackward {
  using Acc = accumulate_t<T>;
  const NormBackwardArgs& args;

  void row(int64_t index, Acc* d_weight, Acc* d_bias) const {
    const int64_t cols = args.cols;
    const auto at = [&](int64_t stride) { return row_offset(index, stride, args.heads, cols); };
    const T* d_y = static_cast<const T*>(args.d_y) + at(args.d_y_stride);
    const T* x = static_cast<const T*>(args.x) + at(args.x_stride);
    const T* weight = static_cast<const T*>(args.weight);
    T* d_x = static_cast<T*>(args.d_x) + at(args.d_x_stride);
    const Acc rstd = static_cast<const Acc*>(args.rstd)[index];
    Acc mean = 0;
    if constexpr (kSubtractMean) mean = static_cast<const Acc*>(args.mean)[index];

    Acc sum_g = 0, sum_gu = 0;
    if (d_weight != nullptr) {
#pragma omp simd reduction(+ : sum_g, sum_gu)
      for (int64_t c = 0; c < cols; ++c) {
        const Acc unit = (load(x[c]) - mean) * rstd;
        const Acc slope = load(d_y[c]);
        const Acc g = slope * load(weight[c]);
        d_weight[c] += slope * unit;
        sum_g += g;
        sum_gu += g * unit;
      }
    } else {
#pragma omp simd reduction(+ : sum_g, sum_gu)
      for (int64_t c = 0; c < cols; ++c) {
        const Acc g = load(d_y[c]) * load(weight[c]);
        sum_g += g;
        sum_gu += g * ((load(x[c]) - mean) * rstd);
      }
    }
    if (d_bias != nullptr) {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) d_bias[c] += load(d_y[c]);
    }
    const Acc mean_g = kSubtractMean ? sum_g / static_cast<Acc>(cols) : 0;
    const Acc mean_gu = sum_gu / static_cast<Acc>(cols);
    if (args.d_sum != nullptr) {
      const T* d_sum = static_cast<const T*>(args.d_sum) + at(args.d_sum_stride);
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) {
        const Acc unit = (load(x[c]) - mean) * rstd;
        const Acc g = load(d_y[c]) * load(weight[c]);
        store(d_x[c], rstd * (g - mean_g - unit * mean_gu) + load(d_sum[c]));
      }
    } else {
#pragma omp simd
      for (int64_t c = 0; c < cols; ++c) {
        const Acc unit = (load(x[c]) - mean) * rstd;
        const Acc g = load(d_y[c]) * load(weight[c]);
        store(d_x[c], rstd * (g - mean_g - unit * mean_gu));
      }
    }
  }
};

template <class T, bool kSubtractMean>
void backward_chunks(const NormBackwardArgs& args) {
  using Acc = accumulate_t<T>;
  const RowBackward<T, kSubtractMean> backward{args};
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t chunk = 0; chunk < args.num_chunks; ++chunk) {
    Acc* d_weight = nullptr;
    Acc* d_bias = nullptr;
    if (args.weight_partials != nullptr) {
      d_weight = static_cast<Acc*>(args.weight_partials) + chunk * args.cols;
      clear(d_weight, args.cols);
    }
    if (args.bias_partials != nullptr) {
      d_bias = static_cast<Acc*>(args.bias_partials) + chunk * args.cols;
      clear(d_bias, args.cols);
    }
    const int64_t begin = chunk * args.chunk_rows;
    const int64_t end = begin + args.chunk_rows < args.rows ? begin + args.chunk_rows : args.rows;
    for (int64_t row = begin; row < end; ++row) backward.row(row, d_weight, d_bias);
  }
  dispatch_gradient<T>(args.gradient_dtype, [&]<class Gradient>() {
    if (args.d_weight != nullptr) {
      sum_partials(static_cast<const Acc*>(args.weight_partials), args.num_chunks, args.cols, args.accumulate,
                   static_cast<Gradient*>(args.d_weight));
    }
    if (args.d_bias != nullptr) {
      sum_partials(static_cast<const Acc*>(args.bias_partials), args.num_chunks, args.cols, args.accumulate,
                   static_cast<Gradient*>(args.d_bias));
    }
  });
}

}  // namespace

void norm_backward(const NormBackwardArgs& args) {
  dispatch_float(args.dtype, [&]<class T>() {
    if (args.subtract_mean) {
      backward_chunks<T, true>(args);
    } else {
      backward_chunks<T, false>(args);
    }
  });
}

}  // namespace megalith::cpu::MG_ISA
