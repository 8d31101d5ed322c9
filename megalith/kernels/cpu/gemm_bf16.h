#pragma once
// defines: widen_block, RoundBlock, round_block, gemm_bf16

#include "megalith/kernels/cpu/gemm.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith::cpu {

/// A block of bf16 rows as dense f32 rows.
struct WidenBlock {
  const bf16* source;
  int64_t source_stride;
  int64_t rows, columns;
  float* target;  // [rows, columns]
};

/// target = bf16(sums + beta * target + bias), row by row.
struct RoundBlock {
  const float* sums;  // [rows, columns]
  int64_t rows, columns;
  const bf16* bias;  // [columns] or null
  float beta;
  bf16* target;
  int64_t target_stride;
};

MG_DECLARE_PER_ISA(void widen_block(const WidenBlock& block))
MG_DECLARE_PER_ISA(void round_block(const RoundBlock& block))

/// C in tiles; the operand blocks of a tile are widened to f32 just before they are multiplied, so that the
/// extra memory is three tiles for each thread. The tiles depend on the problem alone, hence so does every
/// sum.
void gemm_bf16(const GemmProblem& problem, Exec& exec);

}  // namespace megalith::cpu
