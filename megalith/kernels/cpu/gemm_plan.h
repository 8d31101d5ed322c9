#pragma once
// defines: GemmPlan, plan_gemm

#include <string>

#include "megalith/kernels/cpu/gemm.h"
#include "megalith/kernels/cpu/gemm_tile.h"

namespace megalith::cpu {

/// How a product is cut. C is computed in areas, and an area in steps of `chunk_depth` terms of its sums: the
/// part of B that a step takes, [chunk_depth, area_columns], is packed once for all threads. A block of an
/// area, [block_rows, block_columns], is then the work of one thread, which packs its rows of A `depth`
/// terms at a time and multiplies tile by tile.
struct GemmPlan {
  GemmTile tile;
  int64_t depth;
  int64_t chunk_depth;
  int64_t area_rows, area_columns;
  int64_t block_rows, block_columns;
  bool keeps_sums;  // C is bf16 and K more than one depth: the sums of an area are kept in f32
  int num_threads;

  /// "14 x 32 tiles, depth 256, areas of 4096 x 768, blocks of 148 x 768, 2 threads"
  std::string str() const;
};

/// The order of a sum is given by `depth` alone, and that by K: the bits of C do not depend on the threads.
GemmPlan plan_gemm(const GemmProblem& problem, Isa isa, int num_threads);

}  // namespace megalith::cpu
