#pragma once
// defines: cuda::takes_gemv, cuda::gemv

#include "megalith/kernels/cpu/gemm.h"

namespace megalith::cuda {

/// Few rows times a weight that lies row by row, C = A B^T (+ bias, + addend or old C): reading the weight is
/// all the work.
bool takes_gemv(const cpu::GemmProblem& problem);

/// As cuda::gemm for such a product: a warp reads a row of B once, for all rows of A, and sums in f32.
void gemv(const cpu::GemmProblem& problem, Exec& exec);

}  // namespace megalith::cuda
