#pragma once
// defines: reduce_elements

#include <cstddef>
#include <cstdint>
#include <span>

#include "megalith/comm/collective.h"

namespace megalith {

/// out[i] = in[0][i] op in[1][i] op ..., taken from left to right, i < count. Each input is a buffer of the
/// dtype; `out` may be one of them. bf16 and f16 are reduced in f32 and rounded once; kAvg divides the sum.
void reduce_elements(DType dtype, ReduceOp op, std::span<const std::byte* const> in, std::byte* out,
                     int64_t count);

}  // namespace megalith
