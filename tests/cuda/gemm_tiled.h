#pragma once
// defines: cuda::takes_tiled_gemm, cuda::tiled_gemm

#include "megalith/kernels/cpu/gemm.h"

namespace megalith::cuda {

/// Products of bf16 on Hopper by the own kernel (device/product_tiles.cuh) without more: A B^T or A B to bf16
/// with beta 0, A^T B to f32 with beta 0 or 1; no bias, alpha 1, rows in vectors of 16 bytes. They have the
/// bits of cuBLASLt's one-pass algorithms and take 2 to 3 % longer at an H200's power limit, so cuda::gemm
/// leaves them to the library; the fused ops are held to them.
bool takes_tiled_gemm(const cpu::GemmProblem& problem, Exec& exec);

/// As cuda::gemm for such a product; the order of sums is that of K.
void tiled_gemm(const cpu::GemmProblem& problem, Exec& exec);

}  // namespace megalith::cuda
