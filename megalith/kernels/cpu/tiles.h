#pragma once
// defines: Tile, num_tiles, tile_at

#include <cstdint>

namespace megalith::cpu {

/// Columns [begin, end) of one row: the unit of work of elementwise kernels.
struct Tile {
  int64_t row, begin, end;
};

constexpr int64_t kTileCols = 8192;

[[gnu::always_inline]] static inline int64_t num_tiles(int64_t rows, int64_t cols) {
  return rows * ((cols + kTileCols - 1) / kTileCols);
}

[[gnu::always_inline]] static inline Tile tile_at(int64_t index, int64_t cols) {
  const int64_t per_row = (cols + kTileCols - 1) / kTileCols;
  const int64_t begin = index % per_row * kTileCols;
  const int64_t end = begin + kTileCols;
  return {index / per_row, begin, end < cols ? end : cols};
}

}  // namespace megalith::cpu
