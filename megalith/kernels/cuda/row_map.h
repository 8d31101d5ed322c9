#pragma once
// defines: PermuteRowsArgs, permute_rows, combine_rows, row_dots

#include "megalith/kernels/cpu/row_map.h"

namespace megalith::cuda {

/// out[m] = x[from[m]], zeros where it is -1, what was there where it is less; strides in elements.
struct PermuteRowsArgs {
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0;
  const int32_t* from = nullptr;
  const void* x = nullptr;
  void* out = nullptr;
  int64_t x_stride = 0, out_stride = 0;
};
void permute_rows(const PermuteRowsArgs& args, Exec& exec);

/// As on the CPU, to the same bits.
void combine_rows(const cpu::CombineRowsArgs& args, Exec& exec);
void row_dots(const cpu::RowDotsArgs& args, Exec& exec);

}  // namespace megalith::cuda
