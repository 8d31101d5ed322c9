#pragma once
// defines: SumRowsArgs, sum_rows

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// out[c] (+)= sum over rows of x[r, c]. The rows are summed in chunks whose number depends on `rows` only,
/// each into a row of `partials`, and the partials in order. out: f32, f64 for f64; or bf16 for bf16.
struct SumRowsArgs {
  DType dtype = DType::kF32;
  const void* x = nullptr;
  DType out_dtype = DType::kF32;
  void* out = nullptr;
  int64_t rows = 0, cols = 0, x_stride = 0;
  bool accumulate = false;
  // Set by sum_rows():
  void* partials = nullptr;  // [num_chunks, cols], f32 (f64 for f64)
  int64_t num_chunks = 0, chunk_rows = 1;
  int num_threads = 1;
};
void sum_rows(SumRowsArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void sum_rows(const SumRowsArgs& args))

}  // namespace megalith::cpu
