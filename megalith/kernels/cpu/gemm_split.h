#pragma once
// defines: GemmSplit, split_gemm

#include <cstdint>
#include <string>

namespace megalith::cpu {

/// C in row_parts * column_parts tiles of the given size (the last ones smaller), each computed by one
/// thread.
struct GemmSplit {
  int64_t row_parts, column_parts;
  int64_t tile_rows, tile_columns;
  /// "4 x 1 tiles of 192 x 256"
  std::string str() const;
};

/// Depends on the sizes alone and not on the number of threads, and hence so does the order of every sum.
/// OpenBLAS' own split over threads is at best as fast on the shapes of training, changes the last bits with
/// the number of threads, and keeps that number in a variable of the process, which rank threads would share.
GemmSplit split_gemm(int64_t m, int64_t n, int64_t k);

}  // namespace megalith::cpu
