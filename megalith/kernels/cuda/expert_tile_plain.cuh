#pragma once
// defines: PlainTile

#include "megalith/kernels/cuda/device/float_types.cuh"
#include "megalith/kernels/cuda/expert_tile.cuh"

namespace megalith::cuda {

/// A tile of 64 x 64 of a product of any dtype and strides: 256 threads with 4 x 4 sums each.
template <class T, class Out>
class PlainTile {
 public:
  static constexpr int kRows = 64, kCols = 64, kDepth = 8, kThreads = 256;
  using A = acc_t<T>;

  static __device__ void run(const TileProblem& p, int64_t row0, int64_t col0) {
    __shared__ A left[kDepth][kRows + 1], right[kDepth][kCols + 1];
    const int thread = static_cast<int>(threadIdx.x), first_row = thread / 16, first_col = thread % 16;
    A sums[4][4] = {};
    for (int64_t depth = 0; depth < p.k; depth += kDepth) {
      for (int i = thread; i < kRows * kDepth; i += kThreads) {
        // Neighbours read neighbours, whichever stride is 1.
        const auto [row, l] = place_of(i, p.a_col == 1);
        left[l][row] = element(p.a, row0 + row, p.m, p.a_row, depth + l, p.k, p.a_col);
        const auto [col, l2] = place_of(i, p.b_col == 1);
        right[l2][col] = element(p.b, col0 + col, p.n, p.b_row, depth + l2, p.k, p.b_col);
      }
      __syncthreads();
#pragma unroll
      for (int l = 0; l < kDepth; ++l) {
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
          for (int j = 0; j < 4; ++j)
            sums[i][j] += left[l][first_row + 16 * i] * right[l][first_col + 16 * j];
      }
      __syncthreads();
    }
    Out* c = static_cast<Out*>(p.c);
    for (int i = 0; i < 4; ++i) {
      for (int j = 0; j < 4; ++j) {
        const int64_t row = row0 + first_row + 16 * i, col = col0 + first_col + 16 * j;
        if (row >= p.m || col >= p.n) continue;
        Out& place = c[row * p.c_row + col];
        place = from_acc<Out>(sums[i][j] + (p.accumulates ? to_acc(place) : A(0)));
      }
    }
  }

 private:
  struct Place {
    int other, sum;
  };
  static __device__ Place place_of(int i, bool sum_is_contiguous) {
    return sum_is_contiguous ? Place{i / kDepth, i % kDepth} : Place{i % kRows, i / kRows};
  }
  static __device__ A element(const void* matrix, int64_t row, int64_t rows, int64_t row_stride, int64_t col,
                              int64_t cols, int64_t col_stride) {
    if (row >= rows || col >= cols) return 0;
    return to_acc(static_cast<const T*>(matrix)[row * row_stride + col * col_stride]);
  }
};

}  // namespace megalith::cuda
