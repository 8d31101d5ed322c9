#include "megalith/kernels/cpu/gemm_bf16.h"

namespace megalith::cpu::MG_ISA {

void widen_block(const WidenBlock& block) {
  const int64_t columns = block.columns;
  for (int64_t row = 0; row < block.rows; ++row) {
    const bf16* source = block.source + row * block.source_stride;
    float* target = block.target + row * columns;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) target[j] = static_cast<float>(source[j]);
  }
}

void round_block(const RoundBlock& block) {
  const int64_t columns = block.columns;
  const bf16* bias = block.bias;
  const float beta = block.beta;
  for (int64_t row = 0; row < block.rows; ++row) {
    const float* sums = block.sums + row * columns;
    bf16* target = block.target + row * block.target_stride;
    if (bias != nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) target[j] = bf16(sums[j] + static_cast<float>(bias[j]));
    } else if (beta != 0) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) target[j] = bf16(sums[j] + beta * static_cast<float>(target[j]));
    } else {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) target[j] = bf16(sums[j]);
    }
  }
}

}  // namespace megalith::cpu::MG_ISA
