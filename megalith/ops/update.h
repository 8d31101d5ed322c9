#pragma once
// defines: UpdateArgs, decide_update, clip_coefficient

#include "megalith/ops/adamw.h"

namespace megalith {

/// Megatron's rule: max_norm / (norm + 1e-6) where that is below 1, else 1; 1 when max_norm is 0.
double clip_coefficient(double norm, double max_norm);

/// Where gradients lie, what is done with them, so that nobody waits for a host:
///   norm = sqrt(sum_i weights[i] squares[i]), in this order
///   an update is applied where loss * to_mean and norm * to_mean are finite, or always
///   grad_scale = clip_coefficient(norm * to_mean, max_norm) * to_mean
/// All in f64; `numbers`, rounded, are what adamw() reads. `loss` is 0 afterwards, for the next step's terms.
struct UpdateArgs {
  Tensor squares;  // [n] f64
  Tensor weights;  // [n] f64
  Tensor loss;     // [1] f64
  Tensor factors;  // UpdateFactors
  double max_norm = 0;
  bool is_always_applied = false;
  Tensor results;  // UpdateResults, out
  Tensor numbers;  // AdamwNumbers, out
};
void decide_update(const UpdateArgs& args, Exec& exec);

}  // namespace megalith
