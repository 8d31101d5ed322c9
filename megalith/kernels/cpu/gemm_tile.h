#pragma once
// defines: GemmTile, gemm_tile

#include <cstdint>

#include "megalith/core/dtype.h"
#include "megalith/core/isa.h"

namespace megalith::cpu {

/// The part of C whose sums a core keeps in its registers.
struct GemmTile {
  int64_t rows, columns;
};

/// Two vectors of columns, and as many rows as leave registers for two vectors of B and for elements of A.
/// Where a vector holds more elements than the tile has rows, one vector takes a column of A.
constexpr GemmTile gemm_tile(int vector_bytes, int64_t element_bytes) {
  const int64_t lanes = vector_bytes / element_bytes;
  const int64_t rows = lanes == 16 ? 14 : lanes == 8 ? (vector_bytes == 64 ? 8 : 6) : 4;
  return {rows, 2 * lanes};
}

/// Sums of bf16 are kept in f32.
constexpr GemmTile gemm_tile(Isa isa, DType dtype) {
  const int vector_bytes = isa == Isa::kAvx512 ? 64 : isa == Isa::kAvx2 ? 32 : 16;
  return gemm_tile(vector_bytes, dtype == DType::kF64 ? 8 : 4);
}

}  // namespace megalith::cpu
