#pragma once
// defines: GemmOperand, GemmProblem, gemm

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// A matrix as it lies in memory; `transpose` says that the product takes its transpose.
struct GemmOperand {
  const void* data;
  int64_t row_stride;
  bool transpose;
};

/// C[m, n] = alpha * op(A)[m, k] op(B)[k, n] + beta * C + bias.
struct GemmProblem {
  int64_t m, n, k;
  GemmOperand a, b;
  DType dtype;      // of A and B
  DType out_dtype;  // of C: that of A, or f32 for bf16
  void* c;
  int64_t c_row_stride;
  const void* bias = nullptr;  // [n], dtype of C; only with beta == 0
  double alpha = 1;
  double beta = 0;
  const void* addend = nullptr;  // GPU only: what beta multiplies, with rows as far apart; null: C
};

void gemm(const GemmProblem& problem, Exec& exec);

}  // namespace megalith::cpu
