#pragma once
// defines: SwigluRows, swiglu, linear_swiglu, swiglu_linear, swiglu_linear_sum,
// swiglu_linear_term

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"
#include "megalith/comm/communicator.h"

namespace megalith {

/// swiglu(pre) of a value on the tape; it is no value of the tape itself, since what follows is one function
/// with it.
struct SwigluRows {
  Var pre;   // [T, 2F] = [gate | linear]
  Tensor y;  // [T, F]
};
SwigluRows swiglu(Tape& tape, const Var& pre);
/// swiglu(linear(x)), in one kernel where there is one: x [T, H], weight [2F, H].
SwigluRows linear_swiglu(Tape& tape, const Var& x, Parameter& weight);

/// swiglu(pre) W^T: weight [out, F] -> [T, out]. Its backward goes from the gradient of the result to that of
/// pre in one step. Where recompute covers "activation", y is made again for the gradient of the weight. A
/// group is what it is in linear().
Var swiglu_linear(Tape& tape, const SwigluRows& rows, Parameter& weight,
                  Communicator* scattered_over = nullptr);
/// What linear_sum() and linear_term() are to linear().
Var swiglu_linear_sum(Tape& tape, const SwigluRows& rows, Parameter& weight, const Var& residual);
Var swiglu_linear_term(Tape& tape, const SwigluRows& rows, Parameter& weight, Communicator& scattered_over);

}  // namespace megalith
