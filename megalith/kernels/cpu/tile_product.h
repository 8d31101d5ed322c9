#pragma once
// defines: kTileRows, BroadcastMatrix, TileProduct, Sums, multiply_tile
// For *.simd.cpp files: small dense products whose operands lie in the first- and second-level cache.

#include "megalith/kernels/cpu/simd_vector.h"

namespace megalith::cpu {

/// Row counts are multiples of this.
constexpr int64_t kTileRows = 8;

enum class Sums { kStart, kContinue };

/// C[rows, columns] (+)= A[rows, depth] B[depth, columns]. `columns` is a multiple of the vector's lanes. The
/// strides of A are free, so that a transpose costs nothing; rows of B and C are contiguous.
template <class T>
struct TileProduct {
  int64_t rows, columns, depth;
  const T* a;
  int64_t a_row_stride, a_depth_stride;
  const T* b;
  int64_t b_stride;
  T* c;
  int64_t c_stride;
};

// kRows * kVectors sums live in registers; each step reads kVectors vectors of B and kRows scalars of A.
template <class T, int kRows, int kVectors>
[[gnu::always_inline]] static inline void multiply_registers(const TileProduct<T>& p, int64_t row,
                                                             int64_t column, Sums sums) {
  constexpr int kWidth = kLanes<T>;
  const T* a = p.a + row * p.a_row_stride;
  const T* b = p.b + column;
  T* c = p.c + row * p.c_stride + column;
  Vec<T> sum[kRows][kVectors];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v)
      sum[r][v] = sums == Sums::kContinue ? load_vector(c + r * p.c_stride + v * kWidth) : Vec<T>{};
  }
  for (int64_t k = 0; k < p.depth; ++k) {
    Vec<T> b_row[kVectors];
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) b_row[v] = load_vector(b + v * kWidth);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const Vec<T> a_value = splat(a[r * p.a_row_stride]);
#pragma GCC unroll 16
      for (int v = 0; v < kVectors; ++v) sum[r][v] += a_value * b_row[v];
    }
    a += p.a_depth_stride;
    b += p.b_stride;
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
#pragma GCC unroll 16
    for (int v = 0; v < kVectors; ++v) store_vector(c + r * p.c_stride + v * kWidth, sum[r][v]);
  }
}

template <class T, int kRows, int kVectors>
[[gnu::noinline]] static void multiply_columns(const TileProduct<T>& p, int64_t column, Sums sums) {
  for (int64_t row = 0; row < p.rows; row += kRows)
    multiply_registers<T, kRows, kVectors>(p, row, column, sums);
}

template <class T>
static void multiply_tile(const TileProduct<T>& p, Sums sums) {
  constexpr int64_t kWidth = kLanes<T>;
  int64_t column = 0;
  if constexpr (kVectorBytes == 64) {
    for (; column + 4 * kWidth <= p.columns; column += 4 * kWidth) multiply_columns<T, 4, 4>(p, column, sums);
    for (; column + 2 * kWidth <= p.columns; column += 2 * kWidth) multiply_columns<T, 8, 2>(p, column, sums);
  } else {
    for (; column + 2 * kWidth <= p.columns; column += 2 * kWidth) multiply_columns<T, 4, 2>(p, column, sums);
  }
  for (; column < p.columns; column += kWidth) multiply_columns<T, 8, 1>(p, column, sums);
}

}  // namespace megalith::cpu
