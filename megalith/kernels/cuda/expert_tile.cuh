#pragma once
// defines: TileProblem, ExpertTable, kMaxTableExperts, ExpertPlace, find_expert_tile

#include <cstdint>

#include "megalith/kernels/cuda/device/reduce.cuh"

namespace megalith::cuda {

/// C [m, n] = A B + beta C for one expert, of which a block computes a tile. A(i, l) lies at
/// a[i a_row + l a_col], B(l, j) at b[j b_row + l b_col]; one of each pair of strides is 1.
struct TileProblem {
  const void* a;
  const void* b;
  void* c;
  int64_t a_row, a_col, b_row, b_col, c_row;
  int64_t m, n, k;
  bool accumulates;
};

/// What differs from expert to expert, handed over with the launch.
constexpr int kMaxTableExperts = 256;
struct ExpertTable {
  const int32_t* offsets;  // of the first of these
  int num_experts;
  void* matrices[kMaxTableExperts];  // weights, or their gradients
  uint32_t accumulates[kMaxTableExperts / 32];
};

/// The rows of an expert, and which of its tiles of rows is asked for; no rows behind the last tile.
struct ExpertPlace {
  int expert = -1;
  int64_t begin = 0, end = 0, tile = 0;
};

/// The experts' tiles of `tile_rows` rows stand behind each other; this one is number `tile`. Every warp
/// finds it for itself; all threads of a block call it.
__device__ inline ExpertPlace find_expert_tile(const int32_t* offsets, int num_experts, int tile_rows,
                                               int64_t tile) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  int64_t before = 0;
  for (int first = 0; first < num_experts; first += kWarp) {
    const int expert = first + lane;
    const int32_t begin = expert < num_experts ? offsets[expert] : 0;
    const int32_t end = expert < num_experts ? offsets[expert + 1] : 0;
    const int tiles = (end - begin + tile_rows - 1) / tile_rows;
    int up_to = tiles;
#pragma unroll
    for (int step = 1; step < kWarp; step *= 2) {
      const int other = __shfl_up_sync(0xffffffffu, up_to, step);
      if (lane >= step) up_to += other;
    }
    const unsigned is_behind = __ballot_sync(0xffffffffu, before + up_to > tile);
    if (is_behind != 0) {
      const int owner = __ffs(static_cast<int>(is_behind)) - 1;
      ExpertPlace place;
      place.expert = first + owner;
      place.begin = __shfl_sync(0xffffffffu, begin, owner);
      place.end = __shfl_sync(0xffffffffu, end, owner);
      place.tile = tile - (before + __shfl_sync(0xffffffffu, up_to - tiles, owner));
      return place;
    }
    before += __shfl_sync(0xffffffffu, up_to, kWarp - 1);
  }
  return {};
}

}  // namespace megalith::cuda
