#pragma once
// defines: sum_partials

#include "megalith/kernels/cuda/device/gradient_types.cuh"
#include "megalith/kernels/cuda/device/launch.cuh"

namespace megalith::cuda {

constexpr int kPartialLanes = 32;

// out[c] (+)= partials[0, c] + ... : 32 columns a block, 32 lanes of partials, each summed in order, then the
// lanes in order.
template <class A, class Out>
__global__ void sum_partials_kernel(const A* partials, int64_t count, int64_t cols, bool accumulate,
                                    Out* out) {
  __shared__ A sums[kPartialLanes][kPartialLanes + 1];
  const int64_t col = int64_t{blockIdx.x} * kPartialLanes + threadIdx.x;
  A sum = 0;
  if (col < cols) {
#pragma unroll 4
    for (int64_t part = threadIdx.y; part < count; part += kPartialLanes) sum += partials[part * cols + col];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || col >= cols) return;
  A total = 0;
#pragma unroll
  for (int lane = 0; lane < kPartialLanes; ++lane) total += sums[lane][threadIdx.x];
  out[col] = from_acc<Out>(accumulate ? to_acc(out[col]) + total : total);
}

/// out [cols] (+)= the sum of the rows of partials [count, cols], in a fixed order, rounded once.
template <class A, class Out>
void sum_partials(const A* partials, int64_t count, int64_t cols, bool accumulate, Out* out, Exec& exec) {
  if (cols == 0) return;
  const dim3 block(kPartialLanes, kPartialLanes);
  const auto grid = narrow<unsigned>(ceil_div<int64_t>(cols, kPartialLanes));
  sum_partials_kernel<<<grid, block, 0, exec.cuda().stream()>>>(partials, count, cols, accumulate, out);
  MG_CUDA_LAUNCHED();
}

}  // namespace megalith::cuda
