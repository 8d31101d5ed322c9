#pragma once
// defines: LinearSwigluArgs, linear_swiglu, SwigluLinearBackwardArgs, swiglu_linear_backward_input

#include "megalith/core/exec.h"

namespace megalith {

/// pre = x W^T, y = swiglu(pre) = silu(gate) * linear of the rows [gate | linear] of pre. f64, f32, bf16. The
/// result is that of gemm and then activation; where one kernel can do both, the sums of pre may be in
/// another order, y is that of the pre that is written.
struct LinearSwigluArgs {
  Tensor x;       // [T, H]
  Tensor weight;  // [2F, H]
  Tensor pre;     // [T, 2F]
  Tensor y;       // [T, F]
};
void linear_swiglu(const LinearSwigluArgs& args, Exec& exec);

/// For out = swiglu(pre) W^T the gradient of pre: activation_backward of d_y = d_out W, rounded to the dtype.
/// On a GPU, d_y need not come to lie in memory. y, where it is asked for, is made from the same reading of
/// pre.
struct SwigluLinearBackwardArgs {
  Tensor d_out;   // [T, H]
  Tensor weight;  // [H, F]
  Tensor pre;     // [T, 2F]
  Tensor d_pre;   // [T, 2F], not pre itself: d_y may lie there on the way
  Tensor y = {};  // [T, F] becomes swiglu(pre), with the bits of activation(); or undefined
};
void swiglu_linear_backward_input(const SwigluLinearBackwardArgs& args, Exec& exec);

}  // namespace megalith
