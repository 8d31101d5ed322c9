#pragma once
// defines: linear

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"

namespace megalith {

/// y = x W^T (+ b): x [T, in], weight [out, in], bias [out] or null, y [T, out].
Var linear(Tape& tape, const Var& x, Parameter& weight, Parameter* bias = nullptr);

/// main_grad (+)= d_y^T x of a weight [out, in].
void accumulate_weight_gradient(const Tensor& d_y, const Tensor& x, Parameter& weight, Exec& exec);

}  // namespace megalith
