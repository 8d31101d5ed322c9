#pragma once
// defines: Transpose, GemmArgs, gemm, allow_tf32

#include "megalith/core/exec.h"

namespace megalith {

enum class Transpose { kNo, kYes };

/// C = alpha * op(A) op(B) + beta * C (+ bias on every row of C), or + addend in the place of the old C.
/// A, B: f64, f32 or bf16, the same for both, matrices of constant row stride. C: their dtype, or f32 for
/// bf16 inputs (weight gradients). Sums are kept in f32 (f64 for f64). With beta == 0 the old contents of C
/// are not read.
struct GemmArgs {
  Tensor a;  // [M, K], or [K, M] with transpose_a
  Tensor b;  // [K, N], or [N, K] with transpose_b
  Tensor c;  // [M, N]
  Transpose transpose_a = Transpose::kNo;
  Transpose transpose_b = Transpose::kNo;
  double alpha = 1;
  double beta = 0;
  Tensor bias;    // [N], dtype of C, or undefined; needs beta == 0
  Tensor addend;  // [M, N], dtype and row stride of C, another place, or undefined; needs beta == 0, no bias
};

void gemm(const GemmArgs& args, Exec& exec);

/// From here on products of f32 on this GPU round what they multiply to TF32 (10 bits of mantissa for 23) and
/// go on adding in f32; those of at most four rows, and those of experts, stay in f32. Throws UsageError on a
/// CPU, which has no such products.
void allow_tf32(Exec& exec);

}  // namespace megalith
