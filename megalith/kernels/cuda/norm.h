#pragma once
// defines: norm, norm_backward

#include "megalith/kernels/cpu/norm.h"

namespace megalith::cuda {

/// As cpu::norm, on the stream of `exec`: one block for each row.
void norm(const cpu::NormArgs& args, Exec& exec);

/// As cpu::norm_backward. d_weight and d_bias are summed over chunks of rows whose number depends on the
/// count of rows alone, then over the chunks in order.
void norm_backward(const cpu::NormBackwardArgs& args, Exec& exec);

}  // namespace megalith::cuda
