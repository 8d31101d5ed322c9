// defines: widen_block, round_block

#include "megalith/kernels/cpu/gemm_bf16.h"

#include <cstring>

namespace megalith::cpu::MG_ISA {
namespace {

[[gnu::always_inline]] inline float widen(uint16_t bits) {
  const uint32_t word = static_cast<uint32_t>(bits) << 16;
  float value;
  std::memcpy(&value, &word, sizeof value);
  return value;
}

// To nearest, ties to even; NaN stays NaN.
[[gnu::always_inline]] inline uint16_t narrowed(float value) {
  uint32_t word;
  std::memcpy(&word, &value, sizeof word);
  const uint32_t rounded = (word + 0x7fffu + ((word >> 16) & 1u)) >> 16;
  const uint32_t quiet = (word >> 16) | 0x40u;
  return static_cast<uint16_t>((word & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

}  // namespace

void widen_block(const WidenBlock& block) {
  const int64_t columns = block.columns;
  for (int64_t row = 0; row < block.rows; ++row) {
    const auto* source = reinterpret_cast<const uint16_t*>(block.source + row * block.source_stride);
    float* target = block.target + row * columns;
#pragma omp simd
    for (int64_t j = 0; j < columns; ++j) target[j] = widen(source[j]);
  }
}

void round_block(const RoundBlock& block) {
  const int64_t columns = block.columns;
  const auto* bias = reinterpret_cast<const uint16_t*>(block.bias);
  const float beta = block.beta;
  for (int64_t row = 0; row < block.rows; ++row) {
    const float* sums = block.sums + row * columns;
    auto* target = reinterpret_cast<uint16_t*>(block.target + row * block.target_stride);
    if (bias != nullptr) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) target[j] = narrowed(sums[j] + widen(bias[j]));
    } else if (beta != 0) {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) target[j] = narrowed(sums[j] + beta * widen(target[j]));
    } else {
#pragma omp simd
      for (int64_t j = 0; j < columns; ++j) target[j] = narrowed(sums[j]);
    }
  }
}

}  // namespace megalith::cpu::MG_ISA
