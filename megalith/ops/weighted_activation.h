#pragma once
// defines: WeightedActivationArgs, weighted_activation, WeightedActivationBackwardArgs,
// weighted_activation_backward

#include "megalith/ops/activation.h"

namespace megalith {

/// y[m] = act(x[m]) weights[m]; f64, f32, bf16, contiguous. Rows from num_rows on, where it is defined, are
/// neither read nor written, backward as forward.
struct WeightedActivationArgs {
  ActivationKind kind = ActivationKind::kSwiglu;
  Tensor x;         // [M, F or 2F]
  Tensor weights;   // [M, 1] f32 (f64 for f64)
  Tensor y;         // [M, F]
  Tensor num_rows;  // [1] i32, on the device, or undefined: M
};
void weighted_activation(const WeightedActivationArgs& args, Exec& exec);

/// On a GPU one pass, and what stands between the activation and its weight is not rounded.
struct WeightedActivationBackwardArgs {
  ActivationKind kind = ActivationKind::kSwiglu;
  Tensor x;          // [M, F or 2F]
  Tensor weights;    // [M, 1]
  Tensor d_y;        // [M, F]
  Tensor d_x;        // [M, F or 2F], out
  Tensor d_weights;  // [M, 1], out; undefined: not asked for
  Tensor num_rows;   // [1] i32 or undefined
};
void weighted_activation_backward(const WeightedActivationBackwardArgs& args, Exec& exec);

}  // namespace megalith
