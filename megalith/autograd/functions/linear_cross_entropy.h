#pragma once
// defines: linear_cross_entropy, weighted_sum

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"

namespace megalith {

/// The language-model head and its loss: loss[t] = -log softmax(x[t] W^T)[labels[t]]. x [T, H], weight [V,
/// H], labels [T] i32 (below 0: ignored) -> loss [T], f32 (f64 for f64). Holds one [T, V] buffer of the
/// model's dtype, which the loss pass turns into softmax - onehot in place; the gradient of each token's own
/// loss then scales rows of the small operands, so per-token weights are exact.
Var linear_cross_entropy(Tape& tape, const Var& x, Parameter& weight, const Tensor& labels);

/// sum_t weights[t] * x[t] -> [1]; weights f32 (f64 for f64), no gradient to them.
Var weighted_sum(Tape& tape, const Var& x, const Tensor& weights);

}  // namespace megalith
