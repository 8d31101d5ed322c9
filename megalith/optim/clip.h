#pragma once
// defines: global_grad_norm, clip_coefficient

#include "megalith/autograd/parameter.h"

namespace megalith {

/// L2 norm of all main gradients; Inf or NaN when any of them is.
double global_grad_norm(const ParameterStore& store, Exec& exec);

/// Megatron's rule: max_norm / (norm + 1e-6) where that is below 1, else 1; 1 when max_norm is 0.
double clip_coefficient(double norm, double max_norm);

}  // namespace megalith
