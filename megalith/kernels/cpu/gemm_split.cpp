#include "megalith/kernels/cpu/gemm_split.h"

#include <fmt/format.h>

#include "megalith/base/math.h"

namespace megalith::cpu {
namespace {

// Below 4 MFLOP waking a thread costs more than it brings; larger products get a tile for every 128 MFLOP.
constexpr double kMinFlops = 4e6;
constexpr double kTileFlops = 128e6;
constexpr int64_t kMaxTiles = 64;
// Every tile packs its rows of A and columns of B anew: an element packed has to pay off in this many
// operations.
constexpr double kMinFlopsPerPackedElement = 200;
constexpr int64_t kAlignment = 16;

// Elements packed in all, over k.
int64_t packed(int64_t m, int64_t n, int64_t row_parts, int64_t column_parts) {
  return column_parts * m + row_parts * n;
}

// The cheapest row_parts with row_parts * column_parts == parts.
int64_t best_row_parts(int64_t m, int64_t n, int64_t parts) {
  int64_t best = 1;
  for (int64_t row_parts = 2; row_parts <= parts; row_parts *= 2) {
    if (packed(m, n, row_parts, parts / row_parts) < packed(m, n, best, parts / best)) best = row_parts;
  }
  return best;
}

}  // namespace

std::string GemmSplit::str() const {
  return fmt::format("{} x {} tiles of {} x {}", row_parts, column_parts, tile_rows, tile_columns);
}

GemmSplit split_gemm(int64_t m, int64_t n, int64_t k) {
  const double pairs = static_cast<double>(m) * static_cast<double>(n);
  const double flops = 2 * pairs * static_cast<double>(k);
  int64_t parts = flops < kMinFlops ? 1 : 2;
  while (parts > 1 && 2 * parts <= kMaxTiles && flops >= 2 * kTileFlops * static_cast<double>(parts)) {
    const int64_t rows = best_row_parts(m, n, 2 * parts);
    if (2 * pairs < kMinFlopsPerPackedElement * static_cast<double>(packed(m, n, rows, 2 * parts / rows)))
      break;
    parts *= 2;
  }
  const int64_t row_parts = best_row_parts(m, n, parts);
  const int64_t tile_rows = round_up(ceil_div(m, row_parts), kAlignment);
  const int64_t tile_columns = round_up(ceil_div(n, parts / row_parts), kAlignment);
  return {ceil_div(m, tile_rows), ceil_div(n, tile_columns), tile_rows, tile_columns};
}

}  // namespace megalith::cpu
