#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"
#include "megalith/kernels/cuda/device/reduce.cuh"
#include "megalith/kernels/cuda/largest_column.h"

namespace megalith::cuda {
namespace {

constexpr int kThreads = 1024;

template <class A>
struct Candidate {
  A value;
  int32_t column;
};

template <class A>
__device__ inline Candidate<A> larger(const Candidate<A>& a, const Candidate<A>& b) {
  return b.value > a.value || (b.value == a.value && b.column < a.column) ? b : a;
}

template <class A>
__device__ inline Candidate<A> warp_largest(Candidate<A> best) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    const Candidate<A> other{__shfl_xor_sync(~0u, best.value, offset),
                             __shfl_xor_sync(~0u, best.column, offset)};
    best = larger(best, other);
  }
  return best;
}

template <class T>
__global__ __launch_bounds__(kThreads) void largest_of_row(LargestColumnProblem p) {
  using A = acc_t<T>;
  __shared__ Candidate<A> warps[kWarp];
  let_next_begin();
  wait_for_last();
  const T* x = static_cast<const T*>(p.x) + int64_t{blockIdx.x} * p.stride;
  Candidate<A> best{-INFINITY, 0x7fffffff};
  for (int64_t column = threadIdx.x; column < p.columns; column += kThreads)
    best = larger(best, {to_acc(x[column]), static_cast<int32_t>(column)});
  best = warp_largest(best);
  if (threadIdx.x % kWarp == 0) warps[threadIdx.x / kWarp] = best;
  __syncthreads();
  if (threadIdx.x >= kWarp) return;
  best = warp_largest(warps[threadIdx.x]);
  if (threadIdx.x == 0) p.out[blockIdx.x] = best.column == 0x7fffffff ? 0 : best.column;
}

}  // namespace

void largest_column(const LargestColumnProblem& p, Exec& exec) {
  if (p.rows == 0) return;
  dispatch_device_float(p.dtype, [&]<class T>() {
    MG_CUDA_CHECK(
        launch_early(largest_of_row<T>, narrow<unsigned>(p.rows), kThreads, 0, exec.cuda().stream(), p));
  });
}

}  // namespace megalith::cuda
