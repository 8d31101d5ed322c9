#pragma once
// defines: kRouteWarps, warp_max, warp_log_sum_exp, warp_sigmoid, warp_choose_largest

#include <climits>

#include "megalith/kernels/cuda/device/reduce.cuh"

namespace megalith::cuda {

/// Tokens of a block; each has a warp. Rows of experts lie in shared memory, a lane has every 32nd element.
constexpr int kRouteWarps = 4;

template <class T>
__device__ inline T warp_max(T value) {
#pragma unroll
  for (int offset = kWarp / 2; offset > 0; offset /= 2)
    value = max(value, __shfl_xor_sync(0xffffffffu, value, offset));
  return value;
}

template <class T>
__device__ inline T warp_log_sum_exp(const T* x, int count) {
  const int lane = static_cast<int>(threadIdx.x);
  T largest = -static_cast<T>(INFINITY);
  for (int i = lane; i < count; i += kWarp) largest = max(largest, x[i]);
  largest = warp_max(largest);
  T sum = 0;
  for (int i = lane; i < count; i += kWarp) sum += exp(x[i] - largest);
  return largest + log(warp_sum(sum));
}

template <class T>
__device__ inline T warp_sigmoid(T x) {
  return T(1) / (T(1) + exp(-x));
}

/// As cpu::choose_largest: visit(j, place, score) in all lanes, largest first, ties by place, NaN last.
/// Chosen scores become -inf.
template <class T, class Visit>
__device__ inline void warp_choose_largest(T* scores, int count, int num, Visit visit) {
  const int lane = static_cast<int>(threadIdx.x);
  const auto is_better = [](T a, int a_place, T b, int b_place) {
    return a > b || (a == b && a_place < b_place);
  };
  for (int j = 0; j < num; ++j) {
    T best = -static_cast<T>(INFINITY);
    int place = INT_MAX;
    for (int i = lane; i < count; i += kWarp) {
      const T score = isnan(scores[i]) ? -static_cast<T>(INFINITY) : scores[i];
      if (is_better(score, i, best, place)) best = score, place = i;
    }
#pragma unroll
    for (int offset = kWarp / 2; offset > 0; offset /= 2) {
      const T other = __shfl_xor_sync(0xffffffffu, best, offset);
      const int other_place = __shfl_xor_sync(0xffffffffu, place, offset);
      if (is_better(other, other_place, best, place)) best = other, place = other_place;
    }
    visit(j, place, scores[place]);
    __syncwarp();
    if (lane == 0) scores[place] = -static_cast<T>(INFINITY);
    __syncwarp();
  }
}

}  // namespace megalith::cuda
