#pragma once
// defines: MG_CUDA_LAUNCHED, VectorFit, launch_rows, kMaxRowThreads, threads_for_row

#include <algorithm>
#include <bit>
#include <cstdint>
#include <initializer_list>

#include "megalith/base/math.h"
#include "megalith/core/cuda/check.h"
#include "megalith/core/exec.h"
#include "megalith/kernels/cuda/device/early_launch.cuh"

/// After a launch: throws when it was refused. What goes wrong while it runs shows in a later call.
#define MG_CUDA_LAUNCHED() MG_CUDA_CHECK(cudaGetLastError())

namespace megalith::cuda {

/// Whether rows at these places, this many elements apart and `cols` long, can be walked in vectors of
/// `count` elements of `item_bytes`.
inline bool vectors_fit(int count, int64_t item_bytes, int64_t cols, std::initializer_list<int64_t> strides,
                        std::initializer_list<const void*> places) {
  if (cols % count != 0) return false;
  for (const int64_t stride : strides) {
    if (stride % count != 0) return false;
  }
  for (const void* place : places) {
    if (reinterpret_cast<uintptr_t>(place) % static_cast<uintptr_t>(count * item_bytes) != 0) return false;
  }
  return true;
}

/// Calls work(row, col) for every vector of [rows, cols].
template <class Work>
__global__ void for_each_vector(Work work, int64_t rows, int64_t cols) {
  let_next_begin();
  wait_for_last();
  const int64_t first_row = int64_t{blockIdx.y} * blockDim.y + threadIdx.y;
  const int64_t first_col = int64_t{blockIdx.x} * blockDim.x + threadIdx.x;
  for (int64_t row = first_row; row < rows; row += int64_t{gridDim.y} * blockDim.y) {
    for (int64_t col = first_col; col < cols; col += int64_t{gridDim.x} * blockDim.x) work(row, col);
  }
}

/// `cols` counts vectors.
template <class Work>
void launch_rows(const Work& work, int64_t rows, int64_t cols, Exec& exec) {
  if (rows == 0 || cols == 0) return;
  constexpr int64_t kThreads = 256;
  const auto wide = static_cast<int64_t>(std::bit_ceil(static_cast<uint64_t>(std::min(cols, kThreads))));
  const dim3 block(static_cast<unsigned>(wide), static_cast<unsigned>(kThreads / wide));
  const int64_t grid_cols = std::min<int64_t>(ceil_div(cols, wide), int64_t{1} << 30);
  const int64_t grid_rows = std::min<int64_t>(ceil_div(rows, kThreads / wide), 65535);
  const dim3 grid(static_cast<unsigned>(grid_cols), static_cast<unsigned>(grid_rows));
  MG_CUDA_CHECK(launch_early(for_each_vector<Work>, grid, block, 0, exec.cuda().stream(), work, rows, cols));
}

/// The most threads that threads_for_row() gives; kernels that walk rows are bounded by it, so that their
/// registers suffice.
constexpr int kMaxRowThreads = 1024;

/// Whole warps, one thread for each vector of a row.
inline int threads_for_row(int64_t vectors) {
  return static_cast<int>(std::clamp<int64_t>(round_up<int64_t>(vectors, 32), 32, kMaxRowThreads));
}

}  // namespace megalith::cuda
