#pragma once
// defines: Range, GemmStep, pack_b, multiply_block

#include "megalith/kernels/cpu/gemm_plan.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith::cpu {

struct Range {
  int64_t begin, size;
};

/// One step of one area. Elements of the buffers are f64 for f64 and f32 for all others.
struct GemmStep {
  const GemmProblem& problem;
  const GemmPlan& plan;
  Range rows, columns, terms;  // of C and of the sums
  void* b;                     // [chunk_depth / depth, area_columns / tile.columns, depth, tile.columns]
  float* sums;                 // [area_rows + 1, area_columns], where the plan keeps sums
};

/// Packs the panels of tile columns `panels`, counted from the start of the area, of one range of terms, at
/// most `depth` of them from a multiple of it.
MG_DECLARE_PER_ISA(void pack_b(const GemmStep& step, Range panels, Range terms))

/// Adds the step's terms to the block, rows and columns counted as in C. `a` holds
/// ceil(block_rows / tile.rows) * (tile.rows * depth + tile.columns) elements of the calling thread.
MG_DECLARE_PER_ISA(void multiply_block(const GemmStep& step, Range rows, Range columns, void* a))

}  // namespace megalith::cpu
