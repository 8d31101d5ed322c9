#pragma once
// defines: kMaxGemmRows, GemmRows, gemm_rows

#include "megalith/kernels/cpu/gemm.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith::cpu {

/// Few rows against a transposed weight, as in decoding: each row of the weight is read once, where it lies.
constexpr int64_t kMaxGemmRows = 8;

MG_DECLARE_PER_ISA(void gemm_rows(const GemmProblem& problem, int num_threads))

}  // namespace megalith::cpu
