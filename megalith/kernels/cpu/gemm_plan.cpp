#include "megalith/kernels/cpu/gemm_plan.h"

#include <algorithm>

#include <fmt/format.h>

#include "megalith/base/math.h"

namespace megalith::cpu {
namespace {

// A packed panel of B, 32 columns of AVX-512, is read from the first- or second-level cache for every tile.
constexpr int64_t kMaxDepth = 256;
// Elements of packed B, and of an area's sums: 4 MiB of f32 in the third-level cache.
constexpr int64_t kMaxChunk = 1 << 20;
// Where C is added to more than once, a block of it, up to 500 KiB, stays in the second-level cache.
constexpr int64_t kMaxColumnsAddedTo = 1024;
// Rows of a block: enough that a panel of B is used often while it is near, and few enough that the block's
// part of A, up to 130 KiB, stays in the second-level cache.
constexpr int64_t kMinBlockRows = 56;
constexpr int64_t kMaxBlockRows = 126;
constexpr int64_t kMinBlockColumns = 128;
// Waking a thread costs as much as this.
constexpr double kFlopsPerThread = 2e6;

// The size of equal parts of `total`, none above `limit`.
int64_t part_size(int64_t total, int64_t limit, int64_t multiple) {
  return round_up(ceil_div(total, ceil_div(total, std::max(limit, multiple))), multiple);
}

// Rows that a block takes as long as: a tile of two rows leaves the multipliers half idle.
int64_t cost_of(int64_t block_rows, int64_t tile_rows) {
  const int64_t left = block_rows % tile_rows;
  return block_rows - left + (left == 0 ? 0 : std::max<int64_t>(left, 4));
}

// The height with which the threads are done first, taking whole blocks.
int64_t choose_block_rows(int64_t rows, int64_t tile_rows, int64_t num_threads) {
  const int64_t wanted = num_threads == 1 ? 1 : 4 * num_threads;
  const int64_t least = std::max(std::min(wanted, rows / kMinBlockRows), ceil_div(rows, kMaxBlockRows));
  int64_t best_rows = 0, best_cost = 0;
  for (int64_t count = least; count <= least + 2 * num_threads; ++count) {
    const int64_t block_rows = round_up(ceil_div(rows, count), int64_t{2});
    const int64_t rounds = ceil_div(ceil_div(rows, block_rows), num_threads);
    const int64_t cost = rounds * cost_of(block_rows, tile_rows);
    if (best_rows == 0 || cost < best_cost) {
      best_rows = block_rows;
      best_cost = cost;
    }
  }
  return best_rows;
}

// Strips of columns where the rows alone do not keep the threads busy.
int64_t choose_block_columns(const GemmPlan& plan) {
  if (plan.num_threads == 1) return plan.area_columns;
  const int64_t blocks = ceil_div(plan.area_rows, plan.block_rows);
  const int64_t strips =
      std::min(ceil_div<int64_t>(2 * plan.num_threads, blocks), plan.area_columns / kMinBlockColumns);
  return round_up(ceil_div(plan.area_columns, std::max<int64_t>(strips, 1)), plan.tile.columns);
}

}  // namespace

std::string GemmPlan::str() const {
  return fmt::format("{} x {} tiles, depth {}, areas of {} x {}, blocks of {} x {}, {} thread{}", tile.rows,
                     tile.columns, depth, area_rows, area_columns, block_rows, block_columns, num_threads,
                     num_threads == 1 ? "" : "s");
}

GemmPlan plan_gemm(const GemmProblem& p, Isa isa, int num_threads) {
  GemmPlan plan{};
  plan.tile = gemm_tile(isa, p.dtype);
  const double flops = 2.0 * static_cast<double>(p.m) * static_cast<double>(p.n) * static_cast<double>(p.k);
  plan.num_threads =
      static_cast<int>(std::clamp(flops / kFlopsPerThread, 1.0, static_cast<double>(num_threads)));
  plan.depth = part_size(p.k, kMaxDepth, 1);
  plan.keeps_sums = size_of(p.out_dtype) == 2 && p.k > plan.depth;
  plan.area_columns =
      part_size(p.n, p.k > plan.depth ? kMaxColumnsAddedTo : kMaxChunk / plan.depth, plan.tile.columns);
  plan.area_rows = plan.keeps_sums ? part_size(p.m, kMaxChunk / plan.area_columns, 2) : p.m;
  plan.chunk_depth = std::max<int64_t>(kMaxChunk / (plan.area_columns * plan.depth), 1) * plan.depth;
  plan.chunk_depth = std::min(plan.chunk_depth, round_up(p.k, plan.depth));
  plan.block_rows = choose_block_rows(plan.area_rows, plan.tile.rows, plan.num_threads);
  plan.block_columns = choose_block_columns(plan);
  return plan;
}

}  // namespace megalith::cpu
