#pragma once
// defines: global_grad_norm, clip_coefficient

#include "megalith/autograd/parameter.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// L2 norm of the gradients of the whole model, after finish_gradients(): every element counts once, however
/// many ranks hold it. The same number on every rank; Inf or NaN when any gradient is.
double global_grad_norm(const ParameterStore& store, const Mesh& mesh, Exec& exec);

/// Megatron's rule: max_norm / (norm + 1e-6) where that is below 1, else 1; 1 when max_norm is 0.
double clip_coefficient(double norm, double max_norm);

}  // namespace megalith
