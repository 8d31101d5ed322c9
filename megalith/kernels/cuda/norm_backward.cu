#include "megalith/kernels/cuda/device/column_sums.cuh"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/norm.h"

namespace megalith::cuda {
namespace {

constexpr int64_t kMaxChunks = 1056;  // eight blocks for each of 132 multiprocessors

template <class A>
struct Partials {
  A* weight;  // [chunks, cols] or null
  A* bias;
};

// With u = (x - mean) * rstd and g = d_y * w:
//   d_x = rstd * (g - mean(g) - u * mean(g u)) + d_sum, without mean(g) for RMSNorm;
//   d_w = sum over rows of d_y u;  d_b = sum over rows of d_y.
// A block walks a chunk of rows. With kOneVector a thread keeps its columns' sums in registers, else they
// lie in the block's row of the partials.
template <class T, int kCount, bool kOneVector>
__global__ __launch_bounds__(kMaxRowThreads) void backward_chunk(cpu::NormBackwardArgs args,
                                                                 int64_t chunk_rows,
                                                                 Partials<acc_t<T>> partials) {
  using A = acc_t<T>;
  __shared__ A shared[2 * kWarp];
  const int64_t step = int64_t{blockDim.x} * kCount;
  const int64_t begin = int64_t{threadIdx.x} * kCount;
  const T* weight_row = static_cast<const T*>(args.weight);
  A* weight_sums = partials.weight == nullptr ? nullptr : partials.weight + int64_t{blockIdx.x} * args.cols;
  A* bias_sums = partials.bias == nullptr ? nullptr : partials.bias + int64_t{blockIdx.x} * args.cols;
  A d_weight[kCount] = {}, d_bias[kCount] = {}, weight[kCount] = {};
  if constexpr (kOneVector) {
    if (begin < args.cols) load_acc(weight_row + begin, weight);
  } else {
    for (int64_t col = begin; col < args.cols; col += step) {
      if (weight_sums != nullptr) store_acc(weight_sums + col, d_weight);
      if (bias_sums != nullptr) store_acc(bias_sums + col, d_bias);
    }
  }

  const int64_t first_row = int64_t{blockIdx.x} * chunk_rows;
  const int64_t last_row = min(first_row + chunk_rows, args.rows);
  for (int64_t row = first_row; row < last_row; ++row) {
    const T* d_y_row = static_cast<const T*>(args.d_y) + row * args.d_y_stride;
    const T* x_row = static_cast<const T*>(args.x) + row * args.x_stride;
    const T* d_sum_row = static_cast<const T*>(args.d_sum) + row * args.d_sum_stride;
    T* d_x_row = static_cast<T*>(args.d_x) + row * args.d_x_stride;
    const A rstd = static_cast<const A*>(args.rstd)[row];
    const A mean = args.subtract_mean ? static_cast<const A*>(args.mean)[row] : A(0);
    A g[kCount] = {}, unit[kCount] = {}, d_sum[kCount] = {};
    const auto load_vector = [&](int64_t col) {
      load_acc(d_y_row + col, g);
      load_acc(x_row + col, unit);
      if constexpr (!kOneVector) load_acc(weight_row + col, weight);
      if (args.d_sum != nullptr) load_acc(d_sum_row + col, d_sum);
#pragma unroll
      for (int i = 0; i < kCount; ++i) unit[i] = (unit[i] - mean) * rstd;
    };

    A sum_g = 0, sum_gu = 0;
    for (int64_t col = begin; col < args.cols; col += step) {
      load_vector(col);
      if constexpr (!kOneVector) {
        if (weight_sums != nullptr) load_acc(weight_sums + col, d_weight);
        if (bias_sums != nullptr) load_acc(bias_sums + col, d_bias);
      }
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        d_weight[i] += g[i] * unit[i];
        d_bias[i] += g[i];
        g[i] *= weight[i];
        sum_g += g[i];
        sum_gu += g[i] * unit[i];
      }
      if constexpr (!kOneVector) {
        if (weight_sums != nullptr) store_acc(weight_sums + col, d_weight);
        if (bias_sums != nullptr) store_acc(bias_sums + col, d_bias);
      }
    }
    const Pair<A> sums = block_sum_pair(sum_g, sum_gu, shared);
    const A mean_g = args.subtract_mean ? sums.first / static_cast<A>(args.cols) : A(0);
    const A mean_gu = sums.second / static_cast<A>(args.cols);
    for (int64_t col = begin; col < args.cols; col += step) {
      if constexpr (!kOneVector) {
        load_vector(col);
#pragma unroll
        for (int i = 0; i < kCount; ++i) g[i] *= weight[i];
      }
#pragma unroll
      for (int i = 0; i < kCount; ++i) g[i] = rstd * (g[i] - mean_g - unit[i] * mean_gu) + d_sum[i];
      store_acc(d_x_row + col, g);
    }
  }
  if constexpr (kOneVector) {
    if (begin >= args.cols) return;
    if (weight_sums != nullptr) store_acc(weight_sums + begin, d_weight);
    if (bias_sums != nullptr) store_acc(bias_sums + begin, d_bias);
  }
}

template <class T, int kCount>
void launch(const cpu::NormBackwardArgs& args, Exec& exec) {
  using A = acc_t<T>;
  const int64_t chunk_rows = std::max<int64_t>(ceil_div(args.rows, kMaxChunks), 1);
  const int64_t chunks = ceil_div(args.rows, chunk_rows);
  ScratchFrame frame(exec.scratch());
  Partials<A> partials{};
  if (args.d_weight != nullptr) partials.weight = frame.take<A>(chunks * args.cols, "norm weight partials");
  if (args.d_bias != nullptr) partials.bias = frame.take<A>(chunks * args.cols, "norm bias partials");
  if (chunks > 0) {
    const int64_t vectors = args.cols / kCount;
    const int threads = threads_for_row(vectors);
    const auto blocks = narrow<unsigned>(chunks);
    if (vectors <= threads) {
      backward_chunk<T, kCount, true>
          <<<blocks, threads, 0, exec.cuda().stream()>>>(args, chunk_rows, partials);
    } else {
      backward_chunk<T, kCount, false>
          <<<blocks, threads, 0, exec.cuda().stream()>>>(args, chunk_rows, partials);
    }
    MG_CUDA_LAUNCHED();
  }
  if (args.d_weight != nullptr) {
    sum_partials(partials.weight, chunks, args.cols, args.accumulate, static_cast<A*>(args.d_weight), exec);
  }
  if (args.d_bias != nullptr) {
    sum_partials(partials.bias, chunks, args.cols, args.accumulate, static_cast<A*>(args.d_bias), exec);
  }
}

}  // namespace

void norm_backward(const cpu::NormBackwardArgs& args, Exec& exec) {
  if (args.cols == 0) return;
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T);
    const bool fits = vectors_fit(kCount, sizeof(T), args.cols,
                                  {args.d_y_stride, args.d_sum_stride, args.x_stride, args.d_x_stride},
                                  {args.d_y, args.d_sum, args.x, args.weight, args.d_x});
    if (fits) return launch<T, kCount>(args, exec);
    launch<T, 1>(args, exec);
  });
}

}  // namespace megalith::cuda
