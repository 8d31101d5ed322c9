#pragma once
// defines: kMaxSummed, sum_on_gpu

#include <cstdint>
#include <span>

#include "megalith/core/dtype.h"

struct CUstream_st;

namespace megalith {

constexpr int kMaxSummed = 16;

/// out[i] = (in[0][i] + in[1][i] + ...) / divisor, i < count: f32, bf16 or f16, summed in f32 from left to
/// right and rounded once. `out` may be one of the at most kMaxSummed inputs.
void sum_on_gpu(DType dtype, std::span<const std::byte* const> in, std::byte* out, int64_t count,
                float divisor, CUstream_st* stream);

}  // namespace megalith
