#pragma once
// defines: warp_sum, block_sum, block_sum_pair

namespace megalith::cuda {

constexpr int kWarp = 32;

template <class T>
__device__ inline T warp_sum(T value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

/// Sums over the block, which holds whole warps; every thread gets both. The order is fixed. `shared` has
/// room for 2 * 32 values and may be used again at once.
template <class T>
struct Pair {
  T first, second;
};
template <class T>
__device__ inline Pair<T> block_sum_pair(T first, T second, T* shared) {
  first = warp_sum(first);
  second = warp_sum(second);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int num_warps = static_cast<int>(blockDim.x) / kWarp;
  if (num_warps == 1) return {first, second};
  __syncthreads();  // readers of the last sum are done
  if (threadIdx.x % kWarp == 0) {
    shared[warp] = first;
    shared[kWarp + warp] = second;
  }
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  first = lane < num_warps ? shared[lane] : T(0);
  second = lane < num_warps ? shared[kWarp + lane] : T(0);
  return {warp_sum(first), warp_sum(second)};
}

/// The same for one value; `shared` has room for 32.
template <class T>
__device__ inline T block_sum(T value, T* shared) {
  value = warp_sum(value);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int num_warps = static_cast<int>(blockDim.x) / kWarp;
  if (num_warps == 1) return value;
  __syncthreads();
  if (threadIdx.x % kWarp == 0) shared[warp] = value;
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  return warp_sum(lane < num_warps ? shared[lane] : T(0));
}

}  // namespace megalith::cuda
