#pragma once
// defines: GradSquares, grad_squares, global_grad_norm

#include <vector>

#include "megalith/autograd/parameter.h"
#include "megalith/parallel/mesh.h"

namespace megalith {

/// Sums of squares of stretches of this rank's gradients, which lie on the device, and what each counts in
/// the norm of the whole model, after finish_gradients(): every element once, however many ranks hold it.
struct GradSquares {
  Tensor squares;  // [n] f64
  std::vector<double> weights;
};
GradSquares grad_squares(const ParameterStore& store, const Mesh& mesh, Exec& exec);

/// L2 norm of the gradients of the whole model, from grad_squares(). The same number on every rank; Inf or
/// NaN when any gradient is.
double global_grad_norm(const ParameterStore& store, const Mesh& mesh, Exec& exec);

}  // namespace megalith
