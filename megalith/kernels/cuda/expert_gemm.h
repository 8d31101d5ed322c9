#pragma once
// defines: ExpertGemmArgs, expert_gemm, ExpertGradientArgs, expert_weight_gradient

#include <cstdint>
#include <span>

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

// Products of experts whose numbers of rows are known on the GPU alone: the host neither waits nor asks.
// Strides in elements; f32 sums (f64 for f64). bf16 goes through tensor cores where rows can be read 16 bytes
// at a time, everything else through plain multiplications.

/// y_e = x_e op(w_e) for the rows [offsets[e], offsets[e + 1]) of each expert. Rows behind the last expert's
/// are not written.
struct ExpertGemmArgs {
  DType dtype = DType::kF32;
  DType out_dtype = DType::kF32;  ///< dtype, or f32 for bf16
  int64_t rows = 0;               ///< of x and y; no expert's rows lie behind it
  int64_t n = 0, k = 0;
  const int32_t* offsets = nullptr;  // [E + 1]
  const void* x = nullptr;           // [rows, k]
  int64_t x_stride = 0;
  std::span<const void* const> weights;  ///< E on the GPU: [n, k] with transpose_w, else [k, n]
  int64_t w_stride = 0;
  bool transpose_w = true;
  void* y = nullptr;  // [rows, n]
  int64_t y_stride = 0;
};
void expert_gemm(const ExpertGemmArgs& args, Exec& exec);

/// d_w_e = beta_e d_w_e + d_y_e^T x_e, zeros for an expert without rows and with beta 0.
struct ExpertGradientArgs {
  DType dtype = DType::kF32;
  DType out_dtype = DType::kF32;
  int64_t n = 0, k = 0;
  const int32_t* offsets = nullptr;
  const void* d_y = nullptr;  // [rows, n]
  int64_t d_y_stride = 0;
  const void* x = nullptr;  // [rows, k]
  int64_t x_stride = 0;
  std::span<void* const> d_weights;  ///< E on the GPU, [n, k] each
  std::span<const double> betas;     ///< E: 0 or 1
  int64_t d_w_stride = 0;
};
void expert_weight_gradient(const ExpertGradientArgs& args, Exec& exec);

}  // namespace megalith::cuda
