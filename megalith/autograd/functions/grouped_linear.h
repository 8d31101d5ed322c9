#pragma once
// defines: grouped_linear

#include <vector>

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"

namespace megalith {

/// y_e = x_e W_e^T for each expert e on its rows [offsets[e], offsets[e + 1]): x [M, in], weights [out, in]
/// each, offsets [E + 1] i32, y [M, out].
Var grouped_linear(Tape& tape, const Var& x, const std::vector<Parameter*>& weights, const Tensor& offsets);

}  // namespace megalith
