#pragma once
// defines: NormArgs, norm, NormBackwardArgs, norm_backward

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// Rows of `cols` elements, strides in elements; statistics are f32 (f64 for f64). With subtract_mean it is
/// LayerNorm, without RMSNorm.
struct NormArgs {
  DType dtype = DType::kF32;
  bool subtract_mean = false;
  int64_t rows = 0, cols = 0;
  const void* x = nullptr;
  const void* residual = nullptr;  // or null
  const void* weight = nullptr;
  const void* bias = nullptr;  // or null
  double eps = 0;
  void* sum = nullptr;  // with residual
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
