#pragma once
// defines: RowMap, permute_rows, combine_rows, row_dots

#include "megalith/core/exec.h"

namespace megalith {

/// Which of N rows become which of M: each of the M comes from one or none, each of the N goes to up to K.
/// Both directions are kept, so that a sum over rows has an order and needs no atomics.
struct RowMap {
  Tensor from;  // [M] i32: the row that row m is a copy of; -1: zeros; kUnused: anything
  Tensor to;    // [N, K] i32: the copies of row n; -1: none

  /// In `from`, of rows that nobody reads: a place that is kept for others.
  static constexpr int32_t kUnused = -2;

  int64_t num_from() const { return to.dim(0); }
  int64_t num_to() const { return from.dim(0); }
};

/// out[m] = x[from[m]]; unused rows stay as they are on a GPU. x [N, H] -> out [M, H]; f64, f32, bf16.
void permute_rows(const Tensor& x, const RowMap& map, const Tensor& out, Exec& exec);

/// out[n] = sum over k of x[to[n, k]], k ascending, in f32 (f64 for f64). x [M, H] -> out [N, H]. The adjoint
/// of permute_rows.
void combine_rows(const Tensor& x, const RowMap& map, const Tensor& out, Exec& exec);

/// out[m] = sum over h of a[m, h] b[m, h]; out f32, f64 for f64.
void row_dots(const Tensor& a, const Tensor& b, const Tensor& out, Exec& exec);

}  // namespace megalith
