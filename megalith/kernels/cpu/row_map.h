#pragma once
// defines: CombineRowsArgs, combine_rows, RowDotsArgs, row_dots

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// out[n] = sum over `terms` of x[to[n, k]], without those that are -1; strides in elements.
struct CombineRowsArgs {
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0, terms = 0;
  const int32_t* to = nullptr;
  const void* x = nullptr;
  void* out = nullptr;
  int64_t x_stride = 0, out_stride = 0;
  int num_threads = 1;  // set by combine_rows()
};
void combine_rows(CombineRowsArgs args, Exec& exec);

/// out[r] = <a[r], b[r]>, f32 (f64 for f64).
struct RowDotsArgs {
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0;
  const void* a = nullptr;
  const void* b = nullptr;
  void* out = nullptr;
  int64_t a_stride = 0, b_stride = 0;
  int num_threads = 1;  // set by row_dots()
};
void row_dots(RowDotsArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void combine_rows(const CombineRowsArgs& args))
MG_DECLARE_PER_ISA(void row_dots(const RowDotsArgs& args))

}  // namespace megalith::cpu
