#pragma once
// defines: row_offset, NormArgs, norm, NormBackwardArgs, norm_backward

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// Where row `row` begins: `heads` of them stand side by side at each distance of `stride` elements.
constexpr int64_t row_offset(int64_t row, int64_t stride, int64_t heads, int64_t cols) {
  if (heads == 1) return row * stride;
  if (row > 0xffffffff) return row / heads * stride + row % heads * cols;
  const auto low = static_cast<uint32_t>(row), of = static_cast<uint32_t>(heads);  // quicker on a GPU
  return int64_t{low / of} * stride + int64_t{low % of} * cols;
}

/// Rows of `cols` elements, strides in elements (row_offset); statistics are f32 (f64 for f64). With
/// subtract_mean it is LayerNorm, without RMSNorm.
struct NormArgs {
  DType dtype = DType::kF32;
  bool subtract_mean = false;
  int64_t rows = 0, cols = 0;
  int64_t heads = 1;
  const void* x = nullptr;
  const void* residual = nullptr;  // or null
  const void* weight = nullptr;
  const void* bias = nullptr;  // or null
  double eps = 0;
  void* sum = nullptr;  // with residual; or null, or a copy of x
  void* y = nullptr;
  void* mean = nullptr;  // with subtract_mean
  void* rstd = nullptr;
  int64_t x_stride = 0, residual_stride = 0, sum_stride = 0, y_stride = 0;
  int num_threads = 1;  // set by norm()
};
void norm(NormArgs args, Exec& exec);

struct NormBackwardArgs {
  DType dtype = DType::kF32;
  bool subtract_mean = false;
  bool accumulate = false;  // d_weight and d_bias are added to
  int64_t rows = 0, cols = 0;
  int64_t heads = 1;
  const void* d_y = nullptr;
  const void* d_sum = nullptr;  // or null
  const void* x = nullptr;
  const void* weight = nullptr;
  const void* mean = nullptr;
  const void* rstd = nullptr;
  void* d_x = nullptr;
  DType gradient_dtype = DType::kF32;  // of d_weight and d_bias: f32, f64 for f64; or bf16 for bf16
  void* d_weight = nullptr;            // or null
  void* d_bias = nullptr;              // or null
  int64_t d_y_stride = 0, d_sum_stride = 0, x_stride = 0, d_x_stride = 0;
  // Set by norm_backward():
  void* weight_partials = nullptr;  // [num_chunks, cols], null without d_weight
  void* bias_partials = nullptr;    // [num_chunks, cols], null without d_bias
  int64_t num_chunks = 0, chunk_rows = 1;
  int num_threads = 1;
};
void norm_backward(NormBackwardArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void norm(const NormArgs& args))
MG_DECLARE_PER_ISA(void norm_backward(const NormBackwardArgs& args))

}  // namespace megalith::cpu
