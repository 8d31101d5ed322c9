#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/norm_row.cuh"
#include "megalith/kernels/cuda/device/packed_vector.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/norm.h"

namespace megalith::cuda {
namespace {

// Sums of kCount values over the lanes, added up: in the order, so with the bits, in which a block of kCount
// warps that has one of them each sums (reduce.cuh), in fewer steps than one after another.
template <class A, int kCount>
__device__ inline A sum_as_warps(A (&values)[kCount]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int offset = kWarp / 2;
#pragma unroll
  for (int half = kCount / 2; half > 0; half /= 2, offset /= 2) {
    const bool is_upper = (lane & offset) != 0;
#pragma unroll
    for (int i = 0; i < half; ++i) {
      const A kept = is_upper ? values[i + half] : values[i], sent = is_upper ? values[i] : values[i + half];
      values[i] = kept + __shfl_xor_sync(0xffffffffu, sent, offset);
    }
  }
  A sum = values[0];
#pragma unroll
  for (; offset > 0; offset /= 2) sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  offset = kWarp / 2;
#pragma unroll
  for (int warps = kCount; warps > 1; warps /= 2, offset /= 2)
    sum += __shfl_xor_sync(0xffffffffu, sum, offset);
  return sum;
}

constexpr int kWarpRowThreads = 128;
constexpr int kWarpRows = kWarpRowThreads / kWarp;

// A warp has a row to itself, kVectors vectors of it a lane: no barrier, and what is the same for a row is
// computed once in a warp, not in each of a block. All of a row is on its way before the first is worked on.
template <class T, int kCount, int kVectors, bool kHasMean>
__global__ __launch_bounds__(kWarpRowThreads, kVectors <= 4 ? 8 : 6) void norm_warp_row(
    const __grid_constant__ cpu::NormArgs args) {
  using A = acc_t<T>;
  let_next_begin();
  wait_for_last();
  const int64_t row = int64_t{blockIdx.x} * kWarpRows + threadIdx.x / kWarp;
  if (row >= args.rows) return;
  const int64_t lane = threadIdx.x % kWarp;
  const auto column = [&](int i) { return (i * kWarp + lane) * kCount; };
  const auto at = [&](int64_t stride) { return cpu::row_offset(row, stride, args.heads, args.cols); };
  const T* x_row = static_cast<const T*>(args.x) + at(args.x_stride);
  PackedVector<T, kCount> x[kVectors] = {};
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (column(i) < args.cols) x[i] = load_packed<kCount>(x_row + column(i));
  }
  if (args.sum != nullptr) {
    T* copy = static_cast<T*>(args.sum) + at(args.sum_stride);
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      if (column(i) < args.cols) store_packed(copy + column(i), x[i]);
    }
  }
  // Of every vector apart.
  const auto sum_of = [&](const auto& add) {
    A totals[kVectors] = {};
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
#pragma unroll
      for (int k = 0; k < kCount; ++k) totals[i] = add(totals[i], x[i][k], i);
      x[i].repack();
    }
    return sum_as_warps(totals);
  };
  A mean = 0, total;
  if constexpr (kHasMean) {
    mean = sum_of([](A sum, A value, int) { return sum + value; }) / static_cast<A>(args.cols);
    total = sum_of([&](A sum, A value, int i) {
      const A distance = column(i) < args.cols ? value - mean : A(0);
      return fma(distance, distance, sum);
    });
    if (lane == 0) static_cast<A*>(args.mean)[row] = mean;
  } else {
    total = sum_of([](A sum, A value, int) { return fma(value, value, sum); });
  }
  const A rstd = 1 / sqrt(total / static_cast<A>(args.cols) + static_cast<A>(args.eps));
  if (lane == 0) static_cast<A*>(args.rstd)[row] = rstd;
  T* y_row = static_cast<T*>(args.y) + at(args.y_stride);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) {
    if (column(i) >= args.cols) break;
    const auto weight = load_packed<kCount>(static_cast<const T*>(args.weight) + column(i));
    A y[kCount], bias[kCount] = {};
    if (kHasMean && args.bias != nullptr) load_acc(static_cast<const T*>(args.bias) + column(i), bias);
#pragma unroll
    for (int k = 0; k < kCount; ++k) y[k] = fma((x[i][k] - mean) * rstd, weight[k], bias[k]);
    store_acc(y_row + column(i), y);
  }
}

// Narrow rows, heads above all: kLanes lanes have one, a vector each. Sums are made as above, where lanes
// without a vector add nothing.
template <class T, int kCount, int kLanes, bool kHasMean>
__global__ __launch_bounds__(kWarpRowThreads,
                             12) void norm_narrow_row(const __grid_constant__ cpu::NormArgs args) {
  using A = acc_t<T>;
  let_next_begin();
  wait_for_last();
  const int64_t row = (int64_t{blockIdx.x} * kWarpRowThreads + threadIdx.x) / kLanes;
  const int64_t col = threadIdx.x % kLanes * kCount;
  const bool is_there = row < args.rows && col < args.cols;
  const auto at = [&](int64_t stride) { return cpu::row_offset(row, stride, args.heads, args.cols) + col; };
  PackedVector<T, kCount> x{};
  if (is_there) x = load_packed<kCount>(static_cast<const T*>(args.x) + at(args.x_stride));
  const auto sum_of = [&](const auto& add) {
    A total = 0;
#pragma unroll
    for (int k = 0; k < kCount; ++k) total = add(total, x[k]);
    return lanes_sum<kLanes>(total);
  };
  A mean = 0, total;
  if constexpr (kHasMean) {
    mean = sum_of([](A sum, A value) { return sum + value; }) / static_cast<A>(args.cols);
    total = sum_of([&](A sum, A value) {
      const A distance = is_there ? value - mean : A(0);
      return fma(distance, distance, sum);
    });
  } else {
    total = sum_of([](A sum, A value) { return fma(value, value, sum); });
  }
  if (!is_there) return;
  const A rstd = 1 / sqrt(total / static_cast<A>(args.cols) + static_cast<A>(args.eps));
  if (col == 0) {
    if constexpr (kHasMean) static_cast<A*>(args.mean)[row] = mean;
    static_cast<A*>(args.rstd)[row] = rstd;
  }
  if (args.sum != nullptr) store_packed(static_cast<T*>(args.sum) + at(args.sum_stride), x);
  const auto weight = load_packed<kCount>(static_cast<const T*>(args.weight) + col);
  A y[kCount], bias[kCount] = {};
  if (kHasMean && args.bias != nullptr) load_acc(static_cast<const T*>(args.bias) + col, bias);
#pragma unroll
  for (int k = 0; k < kCount; ++k) y[k] = fma((x[k] - mean) * rstd, weight[k], bias[k]);
  store_acc(static_cast<T*>(args.y) + at(args.y_stride), y);
}

template <class T, int kCount, int kLanes>
void launch_narrow_rows(const cpu::NormArgs& args, Exec& exec) {
  const auto kernel = args.subtract_mean ? norm_narrow_row<T, kCount, kLanes, true>
                                         : norm_narrow_row<T, kCount, kLanes, false>;
  const auto blocks = narrow<unsigned>(ceil_div<int64_t>(args.rows, kWarpRowThreads / kLanes));
  MG_CUDA_CHECK(launch_early(kernel, blocks, kWarpRowThreads, 0, exec.cuda().stream(), args));
}

template <class T, int kCount, int kVectors>
void launch_warp_rows(const cpu::NormArgs& args, Exec& exec) {
  const auto kernel = args.subtract_mean ? norm_warp_row<T, kCount, kVectors, true>
                                         : norm_warp_row<T, kCount, kVectors, false>;
  const auto blocks = narrow<unsigned>(ceil_div<int64_t>(args.rows, kWarpRows));
  MG_CUDA_CHECK(launch_early(kernel, blocks, kWarpRowThreads, 0, exec.cuda().stream(), args));
}

template <class T, int kCount>
void launch(const cpu::NormArgs& args, Exec& exec) {
  const int64_t vectors = args.cols / kCount;
  const int threads = threads_for_row(vectors);
  const auto rows = narrow<unsigned>(args.rows);
  const cudaStream_t stream = exec.cuda().stream();
  if constexpr (kCount > 1) {
    // Enough rows that every multiprocessor has its hands full.
    if (args.residual == nullptr && args.rows >= int64_t{exec.cuda().limits().sm_count} * 4 * kWarpRows) {
      if (vectors <= 8) return launch_narrow_rows<T, kCount, 8>(args, exec);
      if (vectors <= 16) return launch_narrow_rows<T, kCount, 16>(args, exec);
      if (vectors <= kWarp) return launch_narrow_rows<T, kCount, kWarp>(args, exec);
      if (vectors <= 2 * kWarp) return launch_warp_rows<T, kCount, 2>(args, exec);
      if (vectors <= 4 * kWarp) return launch_warp_rows<T, kCount, 4>(args, exec);
      if (vectors <= 8 * kWarp) return launch_warp_rows<T, kCount, 8>(args, exec);
    }
  }
  auto* kernel = vectors <= threads ? norm_row<T, kCount, true, NormPlaces<T>>
                                    : norm_row<T, kCount, false, NormPlaces<T>>;
  MG_CUDA_CHECK(
      launch_early(kernel, rows, static_cast<unsigned>(threads), 0, stream, args, NormPlaces<T>{args}));
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
