#pragma once
// defines: AdamwArgs, adamw, SumOfSquaresArgs, sum_of_squares

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// One AdamW step over `count` elements, with everything that is the same for all of them worked out:
///   g = grad_scale * grad;  m += (1 - beta1) (g - m);  v += (1 - beta2) (g^2 - v)
///   master = master * decay - step_size * m / (sqrt(v) * root_scale + eps);  param = round(master)
struct AdamwArgs {
  DType param_dtype = DType::kF32;  // f32, bf16 or f16
  int64_t count = 0;
  void* param = nullptr;  // may be master in f32
  float* master = nullptr;
  DType grad_dtype = DType::kF32;  // f32, or bf16 with bf16 parameters
  const void* grad = nullptr;
  float* exp_avg = nullptr;
  float* exp_avg_sq = nullptr;
  float grad_scale = 1;
  float beta1_rest = 0;  // 1 - beta1
  float beta2_rest = 0;  // 1 - beta2
  float decay = 1;       // 1 - lr * weight_decay
  float step_size = 0;   // lr / (1 - beta1^step)
  float root_scale = 1;  // 1 / sqrt(1 - beta2^step)
  float eps = 0;
  int num_threads = 1;  // set by adamw()
};
void adamw(AdamwArgs args, Exec& exec);

/// The sums of squares of consecutive chunks of kSumChunk elements.
constexpr int64_t kSumChunk = 16384;
struct SumOfSquaresArgs {
  DType dtype = DType::kF32;  // f32 or bf16
  const void* x = nullptr;
  int64_t count = 0;
  double* chunk_sums = nullptr;  // [ceil(count / kSumChunk)]
  int num_threads = 1;
};
double sum_of_squares(DType dtype, const void* x, int64_t count, Exec& exec);

MG_DECLARE_PER_ISA(void adamw(const AdamwArgs& args))
MG_DECLARE_PER_ISA(void sum_of_squares(const SumOfSquaresArgs& args))

}  // namespace megalith::cpu
