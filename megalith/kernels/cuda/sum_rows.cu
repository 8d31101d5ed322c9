#include "megalith/kernels/cuda/device/column_sums.cuh"
#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/elementwise.h"

namespace megalith::cuda {
namespace {

constexpr int kColumnThreads = 32;
constexpr int kRowThreads = 8;
constexpr int64_t kMaxChunks = 64;
constexpr int64_t kMinChunkRows = 16;

// A block sums one chunk of rows for 32 vectors of columns; its eight warps take turns at the rows.
template <class T, int kCount>
__global__ void sum_chunk(cpu::SumRowsArgs args, int64_t chunk_rows, acc_t<T>* partials) {
  using A = acc_t<T>;
  __shared__ A shared[kRowThreads][kColumnThreads * kCount];
  const int64_t col = (int64_t{blockIdx.x} * kColumnThreads + threadIdx.x) * kCount;
  const int64_t begin = int64_t{blockIdx.y} * chunk_rows;
  const int64_t end = min(begin + chunk_rows, args.rows);
  A sums[kCount] = {};
  if (col < args.cols) {
#pragma unroll 4
    for (int64_t row = begin + threadIdx.y; row < end; row += kRowThreads) {
      A x[kCount];
      load_acc(static_cast<const T*>(args.x) + row * args.x_stride + col, x);
#pragma unroll
      for (int i = 0; i < kCount; ++i) sums[i] += x[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kCount; ++i) shared[threadIdx.y][threadIdx.x * kCount + i] = sums[i];
  __syncthreads();
  if (threadIdx.y != 0 || col >= args.cols) return;
#pragma unroll
  for (int i = 0; i < kCount; ++i) {
    A total = 0;
#pragma unroll
    for (int lane = 0; lane < kRowThreads; ++lane) total += shared[lane][threadIdx.x * kCount + i];
    partials[int64_t{blockIdx.y} * args.cols + col + i] = total;
  }
}

template <class T, int kCount>
void launch_chunks(const cpu::SumRowsArgs& args, Exec& exec) {
  using A = acc_t<T>;
  const int64_t chunk_rows = std::max(kMinChunkRows, ceil_div(args.rows, kMaxChunks));
  const int64_t chunks = ceil_div(args.rows, chunk_rows);
  ScratchFrame frame(exec.scratch());
  A* partials = frame.take<A>(chunks * args.cols, "sum_rows partials");
  if (chunks > 0) {
    const dim3 block(kColumnThreads, kRowThreads);
    const dim3 grid(narrow<unsigned>(ceil_div<int64_t>(args.cols, kColumnThreads * kCount)),
                    narrow<unsigned>(chunks));
    sum_chunk<T, kCount><<<grid, block, 0, exec.cuda().stream()>>>(args, chunk_rows, partials);
    MG_CUDA_LAUNCHED();
  }
  dispatch_gradient<T>(args.out_dtype, [&]<class Out>() {
    sum_partials(partials, chunks, args.cols, args.accumulate, static_cast<Out*>(args.out), exec);
  });
}

}  // namespace

void sum_rows(const cpu::SumRowsArgs& args, Exec& exec) {
  if (args.cols == 0) return;
  dispatch_device_float(args.dtype, [&]<class T>() {
    constexpr int kCount = kVectorBytes / sizeof(T) / 2;
    if (vectors_fit(kCount, sizeof(T), args.cols, {args.x_stride}, {args.x})) {
      return launch_chunks<T, kCount>(args, exec);
    }
    launch_chunks<T, 1>(args, exec);
  });
}

}  // namespace megalith::cuda
