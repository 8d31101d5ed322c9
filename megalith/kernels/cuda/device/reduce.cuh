#pragma once
// defines: lanes_sum, warp_sum, block_sum, block_sum_pair, BlockSums

namespace megalith::cuda {

constexpr int kWarp = 32;

/// Over each kLanes lanes, a power of two. All of the warp call it.
template <int kLanes, class T>
__device__ inline T lanes_sum(T value) {
#pragma unroll
  for (int offset = kLanes / 2; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}

template <class T>
__device__ inline T warp_sum(T value) {
  return lanes_sum<kWarp>(value);
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

/// Sums of kCount values over the block, one after another with one barrier each: a sum leaves the places of
/// the last one alone, which some may still be reading. Every thread gets the sums; their order is fixed.
template <class T, int kCount>
class BlockSums {
 public:
  static constexpr int kShared = 2 * kCount * kWarp;
  __device__ explicit BlockSums(T* shared) : shared_(shared) {}

  __device__ void operator()(T (&values)[kCount]) {
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = warp_sum(values[i]);
    const int num_warps = static_cast<int>(blockDim.x) / kWarp;
    if (num_warps == 1) return;
    const int lane = static_cast<int>(threadIdx.x) % kWarp;
    T* place = shared_ + turn_ * kCount * kWarp;
    turn_ = 1 - turn_;
    if (lane == 0) {
#pragma unroll
      for (int i = 0; i < kCount; ++i) place[i * kWarp + static_cast<int>(threadIdx.x) / kWarp] = values[i];
    }
    __syncthreads();
#pragma unroll
    for (int i = 0; i < kCount; ++i) values[i] = warp_sum(lane < num_warps ? place[i * kWarp + lane] : T(0));
  }

 private:
  T* shared_;
  int turn_ = 0;
};

}  // namespace megalith::cuda
