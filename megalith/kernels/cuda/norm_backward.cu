#include <bit>

#include "megalith/kernels/cuda/device/column_sums.cuh"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/packed_vector.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/device/row_ring.cuh"
#include "megalith/kernels/cuda/norm.h"

namespace megalith::cuda {
namespace {

// A chunk of rows for each block that the GPU holds at once, on 132 multiprocessors of 1024 such threads.
constexpr int64_t kMaxChunkThreads = int64_t{132} * 1024;

template <class A>
struct Partials {
  A* weight;  // [chunks, cols] or null
  A* bias;
};

// d_y, x and d_sum of the rows to come; what a block of 1024 threads takes, 96 KiB, every GPU has.
template <int kMaxThreads>
using BackwardRing = RowRing<3, kMaxThreads <= 512 ? 3 : 2>;

// With u = (x - mean) * rstd and g = d_y * w:
//   d_x = rstd * (g - mean(g) - u * mean(g u)) + d_sum, without mean(g) for RMSNorm;
//   d_w = sum over rows of d_y u;  d_b = sum over rows of d_y.
// A block walks its chunk of the rows, one in so many; a thread has one vector of each and keeps its columns'
// sums in registers, while its vectors of the next rows are on their way.
template <class T, int kCount, int kMaxThreads, bool kHasMean>
__global__ __launch_bounds__(kMaxThreads,
                             kMaxRowThreads / kMaxThreads) void backward_ahead(cpu::NormBackwardArgs args,
                                                                               Partials<acc_t<T>> partials) {
  using A = acc_t<T>;
  using Words = Vector<T, kCount>;
  using Sums = BlockSums<A, kHasMean ? 2 : 1>;
  extern __shared__ __align__(16) char ring_memory[];
  __shared__ A shared[Sums::kShared];
  Sums sum_over_block(shared);
  BackwardRing<kMaxThreads> ring(ring_memory);
  const int64_t col = int64_t{threadIdx.x} * kCount;
  const bool has_columns = col < args.cols;
  const auto fetch = [&](int64_t row) {
    if (row >= args.rows || !has_columns) return ring.end_fetch();
    const auto at = [&](int64_t stride) { return cpu::row_offset(row, stride, args.heads, args.cols) + col; };
    ring.fetch({static_cast<const T*>(args.d_y) + at(args.d_y_stride),
                static_cast<const T*>(args.x) + at(args.x_stride),
                args.d_sum == nullptr ? nullptr : static_cast<const T*>(args.d_sum) + at(args.d_sum_stride)});
  };
  for (int i = 0; i < ring.kAhead; ++i) fetch(blockIdx.x + int64_t{i} * gridDim.x);

  Words weight{};
  if (has_columns) weight = load_vector<kCount>(static_cast<const T*>(args.weight) + col);
  A d_weight[kCount] = {}, d_bias[kCount] = {};
  A next_rstd = static_cast<const A*>(args.rstd)[blockIdx.x];
  A next_mean = kHasMean ? static_cast<const A*>(args.mean)[blockIdx.x] : A(0);
  for (int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
    const A rstd = next_rstd, mean = next_mean;
    Words d_y{}, x{}, d_sum{};
    ring.advance();
    if (has_columns) {
      d_y = ring.template current<Words>(0);
      x = ring.template current<Words>(1);
      if (args.d_sum != nullptr) d_sum = ring.template current<Words>(2);
    }
    fetch(row + int64_t{ring.kAhead} * gridDim.x);
    if (const int64_t next = row + gridDim.x; next < args.rows) {
      next_rstd = static_cast<const A*>(args.rstd)[next];
      if constexpr (kHasMean) next_mean = static_cast<const A*>(args.mean)[next];
    }
    const auto unit = [&](int i) { return (to_acc(x.element[i]) - mean) * rstd; };
    const auto g = [&](int i) { return to_acc(d_y.element[i]) * to_acc(weight.element[i]); };
    A sums[kHasMean ? 2 : 1] = {};
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      d_weight[i] += to_acc(d_y.element[i]) * unit(i);
      sums[0] += g(i) * unit(i);
      if constexpr (kHasMean) {
        d_bias[i] += to_acc(d_y.element[i]);
        sums[1] += g(i);
      }
    }
    sum_over_block(sums);
    const A mean_gu = sums[0] / static_cast<A>(args.cols);
    A mean_g = 0;
    if constexpr (kHasMean) mean_g = sums[1] / static_cast<A>(args.cols);
    A d_x[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      d_x[i] = rstd * (g(i) - mean_g - unit(i) * mean_gu) + to_acc(d_sum.element[i]);
    if (has_columns)
      store_acc(
          static_cast<T*>(args.d_x) + cpu::row_offset(row, args.d_x_stride, args.heads, args.cols) + col,
          d_x);
  }
  if (!has_columns) return;
  const int64_t place = int64_t{blockIdx.x} * args.cols + col;
  if (partials.weight != nullptr) store_acc(partials.weight + place, d_weight);
  if (partials.bias != nullptr) store_acc(partials.bias + place, d_bias);
}

// The same for any number of columns: a row is read twice, and the sums lie in the block's row of the
// partials.
template <class T, int kCount>
__global__ __launch_bounds__(kMaxRowThreads) void backward_chunk(cpu::NormBackwardArgs args,
                                                                 Partials<acc_t<T>> partials) {
  using A = acc_t<T>;
  __shared__ A shared[2 * kWarp];
  const int64_t step = int64_t{blockDim.x} * kCount;
  const int64_t begin = int64_t{threadIdx.x} * kCount;
  const T* weight_row = static_cast<const T*>(args.weight);
  A* weight_sums = partials.weight == nullptr ? nullptr : partials.weight + int64_t{blockIdx.x} * args.cols;
  A* bias_sums = partials.bias == nullptr ? nullptr : partials.bias + int64_t{blockIdx.x} * args.cols;
  const A zero[kCount] = {};
  for (int64_t col = begin; col < args.cols; col += step) {
    if (weight_sums != nullptr) store_acc(weight_sums + col, zero);
    if (bias_sums != nullptr) store_acc(bias_sums + col, zero);
  }

  for (int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
    const auto at = [&](int64_t stride) { return cpu::row_offset(row, stride, args.heads, args.cols); };
    const T* d_y_row = static_cast<const T*>(args.d_y) + at(args.d_y_stride);
    const T* x_row = static_cast<const T*>(args.x) + at(args.x_stride);
    const T* d_sum_row = static_cast<const T*>(args.d_sum) + at(args.d_sum_stride);
    T* d_x_row = static_cast<T*>(args.d_x) + at(args.d_x_stride);
    const A rstd = static_cast<const A*>(args.rstd)[row];
    const A mean = args.subtract_mean ? static_cast<const A*>(args.mean)[row] : A(0);
    A g[kCount], unit[kCount], weight[kCount];
    const auto load_row = [&](int64_t col) {
      load_acc(d_y_row + col, g);
      load_acc(x_row + col, unit);
      load_acc(weight_row + col, weight);
#pragma unroll
      for (int i = 0; i < kCount; ++i) unit[i] = (unit[i] - mean) * rstd;
    };

    A sum_g = 0, sum_gu = 0;
    for (int64_t col = begin; col < args.cols; col += step) {
      load_row(col);
      A d_weight[kCount] = {}, d_bias[kCount] = {};
      if (weight_sums != nullptr) load_acc(weight_sums + col, d_weight);
      if (bias_sums != nullptr) load_acc(bias_sums + col, d_bias);
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        d_weight[i] += g[i] * unit[i];
        d_bias[i] += g[i];
        g[i] *= weight[i];
        sum_g += g[i];
        sum_gu += g[i] * unit[i];
      }
      if (weight_sums != nullptr) store_acc(weight_sums + col, d_weight);
      if (bias_sums != nullptr) store_acc(bias_sums + col, d_bias);
    }
    const Pair<A> sums = block_sum_pair(sum_g, sum_gu, shared);
    const A mean_g = args.subtract_mean ? sums.first / static_cast<A>(args.cols) : A(0);
    const A mean_gu = sums.second / static_cast<A>(args.cols);
    for (int64_t col = begin; col < args.cols; col += step) {
      load_row(col);
      A d_sum[kCount] = {};
      if (args.d_sum != nullptr) load_acc(d_sum_row + col, d_sum);
#pragma unroll
      for (int i = 0; i < kCount; ++i)
        g[i] = rstd * (g[i] * weight[i] - mean_g - unit[i] * mean_gu) + d_sum[i];
      store_acc(d_x_row + col, g);
    }
  }
}

constexpr int kNarrowThreads = 256;

// The same for narrow rows, heads above all: kLanes lanes have one, a vector each, and the next is on its way
// to their registers. The columns' sums of a block's rows are added up in the order of its lanes.
template <class T, int kCount, int kLanes, bool kHasMean>
__global__ __launch_bounds__(kNarrowThreads, 4) void backward_narrow(cpu::NormBackwardArgs args,
                                                                     Partials<acc_t<T>> partials) {
  using A = acc_t<T>;
  using Packed = PackedVector<T, kCount>;
  constexpr int kRows = kNarrowThreads / kLanes;
  __shared__ A column_sums[kRows][kLanes * kCount];
  const int place = static_cast<int>(threadIdx.x) / kLanes;
  const int col = static_cast<int>(threadIdx.x) % kLanes * kCount;
  const bool has_columns = col < args.cols;
  const int64_t step = int64_t{gridDim.x} * kRows;
  Packed weight{}, next_d_y{}, next_x{}, next_d_sum{};
  A next_rstd = 0, next_mean = 0;
  const auto fetch = [&](int64_t row) {
    if (row >= args.rows || !has_columns) return;
    const auto at = [&](int64_t stride) { return cpu::row_offset(row, stride, args.heads, args.cols) + col; };
    next_d_y = load_packed<kCount>(static_cast<const T*>(args.d_y) + at(args.d_y_stride));
    next_x = load_packed<kCount>(static_cast<const T*>(args.x) + at(args.x_stride));
    if (args.d_sum != nullptr)
      next_d_sum = load_packed<kCount>(static_cast<const T*>(args.d_sum) + at(args.d_sum_stride));
    next_rstd = static_cast<const A*>(args.rstd)[row];
    if constexpr (kHasMean) next_mean = static_cast<const A*>(args.mean)[row];
  };
  if (has_columns) weight = load_packed<kCount>(static_cast<const T*>(args.weight) + col);
  A d_weight[kCount] = {}, d_bias[kCount] = {};
  const int64_t first = int64_t{blockIdx.x} * kRows;
  fetch(first + place);
  for (int64_t begin = first; begin < args.rows; begin += step) {
    const int64_t row = begin + place;
    const bool is_there = row < args.rows && has_columns;
    const Packed d_y = next_d_y, x = next_x, d_sum = next_d_sum;
    const A rstd = next_rstd, mean = next_mean;
    fetch(row + step);
    const auto unit = [&](int i) { return (x[i] - mean) * rstd; };
    const auto g = [&](int i) { return d_y[i] * weight[i]; };
    A sum_gu = 0, sum_g = 0;
    if (is_there) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        d_weight[i] += d_y[i] * unit(i);
        sum_gu += g(i) * unit(i);
        if constexpr (kHasMean) {
          d_bias[i] += d_y[i];
          sum_g += g(i);
        }
      }
    }
    const A mean_gu = lanes_sum<kLanes>(sum_gu) / static_cast<A>(args.cols);
    A mean_g = 0;
    if constexpr (kHasMean) mean_g = lanes_sum<kLanes>(sum_g) / static_cast<A>(args.cols);
    if (!is_there) continue;
    A d_x[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i) d_x[i] = rstd * (g(i) - mean_g - unit(i) * mean_gu) + d_sum[i];
    store_acc(static_cast<T*>(args.d_x) + cpu::row_offset(row, args.d_x_stride, args.heads, args.cols) + col,
              d_x);
  }
  const auto put_sums = [&](const A(&own)[kCount], A* sums) {
    if (sums == nullptr) return;
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kCount; ++i) column_sums[place][col + i] = own[i];
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < args.cols; c += kNarrowThreads) {
      A total = 0;
#pragma unroll 4
      for (int i = 0; i < kRows; ++i) total += column_sums[i][c];
      sums[int64_t{blockIdx.x} * args.cols + c] = total;
    }
  };
  put_sums(d_weight, partials.weight);
  if constexpr (kHasMean) put_sums(d_bias, partials.bias);
}

template <class T, int kCount>
struct Launch {
  void (*kernel)(cpu::NormBackwardArgs, Partials<acc_t<T>>) = backward_chunk<T, kCount>;
  int64_t chunks = 0;
  int threads = 0;
  int64_t shared_bytes = 0;
};

template <class T, int kCount, int kLanes>
Launch<T, kCount> launch_narrow(int64_t rows, bool has_mean) {
  const int64_t blocks = ceil_div<int64_t>(rows, kNarrowThreads / kLanes);
  return {has_mean ? backward_narrow<T, kCount, kLanes, true> : backward_narrow<T, kCount, kLanes, false>,
          std::min(blocks, kMaxChunkThreads / kNarrowThreads), kNarrowThreads};
}

int64_t chunks_of(int64_t rows, int threads) {
  return std::min(rows, kMaxChunkThreads /
                            std::max<int64_t>(std::bit_ceil(static_cast<unsigned>(threads)), kNarrowThreads));
}

template <class T, int kCount, int kMaxThreads>
Launch<T, kCount> launch_ahead(int64_t rows, int threads, bool has_mean) {
  return {
      has_mean ? backward_ahead<T, kCount, kMaxThreads, true> : backward_ahead<T, kCount, kMaxThreads, false>,
      chunks_of(rows, threads), threads, BackwardRing<kMaxThreads>::bytes(threads)};
}

template <class T, int kCount>
Launch<T, kCount> choose(int64_t rows, int64_t vectors, bool has_mean) {
  const int threads = threads_for_row(vectors);
  if constexpr (kCount > 1) {
    if (vectors <= 8) return launch_narrow<T, kCount, 8>(rows, has_mean);
    if (vectors <= 16) return launch_narrow<T, kCount, 16>(rows, has_mean);
    if (vectors <= kWarp) return launch_narrow<T, kCount, kWarp>(rows, has_mean);
    if (vectors <= 256) return launch_ahead<T, kCount, 256>(rows, threads, has_mean);
    if (vectors <= 512) return launch_ahead<T, kCount, 512>(rows, threads, has_mean);
    if (vectors <= kMaxRowThreads) return launch_ahead<T, kCount, kMaxRowThreads>(rows, threads, has_mean);
  }
  return {.chunks = chunks_of(rows, threads), .threads = threads};
}

template <class T, int kCount>
void launch(const cpu::NormBackwardArgs& args, Exec& exec) {
  using A = acc_t<T>;
  const Launch<T, kCount> chosen = choose<T, kCount>(args.rows, args.cols / kCount, args.subtract_mean);
  const int64_t chunks = chosen.chunks;
  ScratchFrame frame(exec.scratch());
  Partials<A> partials{};
  if (args.d_weight != nullptr) partials.weight = frame.take<A>(chunks * args.cols, "norm weight partials");
  if (args.d_bias != nullptr) partials.bias = frame.take<A>(chunks * args.cols, "norm bias partials");
  if (chunks > 0) {
    const auto bytes = static_cast<unsigned>(chosen.shared_bytes);
    MG_CUDA_CHECK(cudaFuncSetAttribute(chosen.kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                       static_cast<int>(bytes)));
    chosen.kernel<<<narrow<unsigned>(chunks), chosen.threads, bytes, exec.cuda().stream()>>>(args, partials);
    MG_CUDA_LAUNCHED();
  }
  dispatch_gradient<T>(args.gradient_dtype, [&]<class Gradient>() {
    if (args.d_weight != nullptr) {
      sum_partials(partials.weight, chunks, args.cols, args.accumulate, static_cast<Gradient*>(args.d_weight),
                   exec);
    }
    if (args.d_bias != nullptr) {
      sum_partials(partials.bias, chunks, args.cols, args.accumulate, static_cast<Gradient*>(args.d_bias),
                   exec);
    }
  });
}

}  // namespace

const int64_t kNormBackwardSharedBytes = BackwardRing<kMaxRowThreads>::bytes(kMaxRowThreads);

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
