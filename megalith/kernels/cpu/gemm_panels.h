#pragma once
// defines: PanelProduct, multiply_panels
// For *.simd.cpp files: the inner loop of matrix products.

#include "megalith/kernels/cpu/gemm_tile.h"
#include "megalith/kernels/cpu/simd_vector.h"
#include "megalith/kernels/cpu/tile_product.h"

namespace megalith::cpu {

template <class T>
constexpr GemmTile kGemmTile = gemm_tile(kVectorBytes, sizeof(T));

/// C[rows, kGemmTile.columns] (+)= sum over k < depth of a[k, row] b[k, column]. Both panels are packed:
/// a[depth, kGemmTile.rows], b[depth, kGemmTile.columns].
template <class T>
struct PanelProduct {
  int64_t depth;
  const T* a;
  const T* b;
  T* c;
  int64_t c_stride;
  const T* next;  // read soon: brought near at the pace of one cache line for each k
};

// The sums fill the registers: 28 of 32 with AVX-512, 12 of 16 with AVX2.
template <class T, int kRows>
[[gnu::noinline]] static void multiply_panel_rows(const PanelProduct<T>& p, Sums sums) {
  constexpr int kWidth = kLanes<T>;
  constexpr int64_t kNextStep = 64 / sizeof(T);
  const T* a = p.a;
  const T* b = p.b;
  T* c = p.c;
  const T* c_row = c;
  const T* next = p.next;
  const int64_t c_stride = p.c_stride;
  Vec<T> sum[kRows][2] = {};
  int64_t k = 0;
  for (int row = 1; row <= kRows; ++row) {
    // C arrives while the sums are made, row by row: all at once would hold up the panels.
    __builtin_prefetch(c_row, 1);
    __builtin_prefetch(c_row + kWidth, 1);
    c_row += c_stride;
    for (const int64_t end = p.depth * row / kRows; k < end; ++k) {
      const Vec<T> b0 = load_vector(b), b1 = load_vector(b + kWidth);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Vec<T> a_value = splat(a[r]);
        sum[r][0] += a_value * b0;
        sum[r][1] += a_value * b1;
      }
      __builtin_prefetch(next, 0, 2);
      next += kNextStep;
      a += kGemmTile<T>.rows;
      b += kGemmTile<T>.columns;
    }
  }
  if (sums == Sums::kContinue) {
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      sum[r][0] += load_vector(c + r * c_stride);
      sum[r][1] += load_vector(c + r * c_stride + kWidth);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    store_vector(c + r * c_stride, sum[r][0]);
    store_vector(c + r * c_stride + kWidth, sum[r][1]);
  }
}

/// Rows that are computed for `rows`: that many, or one more.
[[gnu::always_inline]] static inline int64_t computed_rows(int64_t rows) {
  return (rows + 1) / 2 * 2;
}

/// 1 <= rows <= kGemmTile.rows; computed_rows(rows) rows of C are written.
template <class T, int kRows = kGemmTile<T>.rows>
static void multiply_panels(const PanelProduct<T>& p, int64_t rows, Sums sums) {
  if constexpr (kRows > 2) {
    if (rows <= kRows - 2) return multiply_panels<T, kRows - 2>(p, rows, sums);
  }
  multiply_panel_rows<T, kRows>(p, sums);
}

}  // namespace megalith::cpu
