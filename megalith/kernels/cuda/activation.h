#pragma once
// defines: activation, activation_backward

#include "megalith/kernels/cpu/activation.h"

namespace megalith::cuda {

/// As cpu::activation and cpu::activation_backward, on the stream of `exec`. For bf16 the exponential is the
/// hardware's fast one (2 ulp of f32), far below the rounding of the result.
void activation(const cpu::ActivationArgs& args, Exec& exec);
void activation_backward(const cpu::ActivationBackwardArgs& args, Exec& exec);

}  // namespace megalith::cuda
