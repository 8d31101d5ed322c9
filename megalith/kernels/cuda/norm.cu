#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/norm_row.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/device/row_ring.cuh"
#include "megalith/kernels/cuda/norm.h"

namespace megalith::cuda {
namespace {

// The rows to come of a block that has one vector of each row for a thread.
using ForwardRing = RowRing<1, 4>;
constexpr int kAheadBlocks = 6;  // on a multiprocessor

// Without a residual there is less to read than hides the wait for it: blocks walk the rows with strides,
// those to come already on their way.
template <class T, int kCount>
__global__ __launch_bounds__(256, kAheadBlocks) void norm_ahead(cpu::NormArgs args) {
  using A = acc_t<T>;
  extern __shared__ __align__(16) char ring_memory[];
  __shared__ A shared[BlockSums<A, 1>::kShared];
  BlockSums<A, 1> sum_over_block(shared);
  ForwardRing ring(ring_memory);
  const int64_t col = int64_t{threadIdx.x} * kCount;
  const bool has_columns = col < args.cols;
  const auto fetch = [&](int64_t row) {
    if (row >= args.rows || !has_columns) return ring.end_fetch();
    ring.fetch({static_cast<const T*>(args.x) + row * args.x_stride + col});
  };
  for (int i = 0; i < ring.kAhead; ++i) fetch(blockIdx.x + int64_t{i} * gridDim.x);
  Vector<T, kCount> weight{}, bias{};
  if (has_columns) weight = load_vector<kCount>(static_cast<const T*>(args.weight) + col);
  if (has_columns && args.bias != nullptr) bias = load_vector<kCount>(static_cast<const T*>(args.bias) + col);
  for (int64_t row = blockIdx.x; row < args.rows; row += gridDim.x) {
    Vector<T, kCount> x{};
    ring.advance();
    if (has_columns) x = ring.template current<Vector<T, kCount>>(0);
    fetch(row + int64_t{ring.kAhead} * gridDim.x);
    A total[1] = {}, mean = 0;
#pragma unroll
    for (int i = 0; i < kCount; ++i) {
      const A value = to_acc(x.element[i]);
      total[0] += args.subtract_mean ? value : value * value;
    }
    sum_over_block(total);
    if (args.subtract_mean) {
      mean = total[0] / static_cast<A>(args.cols);
      total[0] = 0;
#pragma unroll
      for (int i = 0; i < kCount; ++i) {
        const A distance = has_columns ? to_acc(x.element[i]) - mean : A(0);
        total[0] += distance * distance;
      }
      sum_over_block(total);
      if (threadIdx.x == 0) static_cast<A*>(args.mean)[row] = mean;
    }
    const A rstd = 1 / sqrt(total[0] / static_cast<A>(args.cols) + static_cast<A>(args.eps));
    if (threadIdx.x == 0) static_cast<A*>(args.rstd)[row] = rstd;
    if (!has_columns) continue;
    A y[kCount];
#pragma unroll
    for (int i = 0; i < kCount; ++i)
      y[i] = (to_acc(x.element[i]) - mean) * rstd * to_acc(weight.element[i]) + to_acc(bias.element[i]);
    store_acc(static_cast<T*>(args.y) + row * args.y_stride + col, y);
  }
}

template <class T, int kCount>
void launch(const cpu::NormArgs& args, Exec& exec) {
  const int64_t vectors = args.cols / kCount;
  const int threads = threads_for_row(vectors);
  const auto rows = narrow<unsigned>(args.rows);
  const cudaStream_t stream = exec.cuda().stream();
  if constexpr (kCount > 1) {
    const auto blocks = static_cast<unsigned>(exec.cuda().limits().sm_count * kAheadBlocks);
    if (args.residual == nullptr && threads <= 256 && rows > blocks) {
      norm_ahead<T, kCount><<<blocks, threads, ForwardRing::bytes(threads), stream>>>(args);
      MG_CUDA_LAUNCHED();
      return;
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
