#pragma once
// defines: gemm, describe_gemm_plans

#include <string>

#include "megalith/kernels/cpu/gemm.h"

namespace megalith::cuda {

/// As cpu::gemm, by cuBLASLt on the stream of `exec`. f32 is computed in f32, bf16 with sums in f32. The
/// algorithm is cuBLASLt's first choice for the problem, looked up once and kept in `exec`. A bias, and
/// with beta != 0 the old C, may be added after the product has been rounded to the dtype of C.
void gemm(const cpu::GemmProblem& problem, Exec& exec);

/// One line for each problem seen so far: sizes, layouts, algorithm, tile, workspace.
std::string describe_gemm_plans(Exec& exec);

}  // namespace megalith::cuda
