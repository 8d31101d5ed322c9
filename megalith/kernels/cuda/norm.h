#pragma once
// defines: norm, norm_backward, kNormBackwardSharedBytes

#include "megalith/kernels/cpu/norm.h"

namespace megalith::cuda {

/// As cpu::norm, on the stream of `exec`.
void norm(const cpu::NormArgs& args, Exec& exec);

/// As cpu::norm_backward. d_weight and d_bias are summed over chunks of rows whose number depends on the
/// sizes alone, then over the chunks in order.
void norm_backward(const cpu::NormBackwardArgs& args, Exec& exec);

/// What its largest block takes beside what it declares.
extern const int64_t kNormBackwardSharedBytes;

}  // namespace megalith::cuda
