#pragma once
// defines: CrossEntropyArgs, cross_entropy

#include "megalith/core/exec.h"

namespace megalith {

/// Per-token cross-entropy over rows of logits: loss[t] = logsumexp(logits[t]) - logits[t, labels[t]], in f32
/// (f64 for f64). A label below 0 is ignored: its loss is 0 and its row of d_logits is 0. d_logits, when
/// defined, receives softmax(logits[t]) - onehot(labels[t]), the gradient for a weight of 1; it may be
/// `logits` itself, so that a training step holds one buffer of this size and passes over it once.
struct CrossEntropyArgs {
  Tensor logits;    // [T, V] f64, f32 or bf16
  Tensor labels;    // [T] i32
  Tensor loss;      // [T] out, f32 (f64 for f64)
  Tensor d_logits;  // [T, V] out, dtype of logits, or undefined
};
void cross_entropy(const CrossEntropyArgs& args, Exec& exec);

}  // namespace megalith
