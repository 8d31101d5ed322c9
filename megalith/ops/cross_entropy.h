#pragma once
// defines: CrossEntropyArgs, cross_entropy, CrossEntropyStatisticsArgs, cross_entropy_statistics,
// weighted_sum, cross_entropy_chunk_rows

#include "megalith/core/exec.h"

namespace megalith {

/// Per-token cross-entropy over rows of logits: loss[t] = logsumexp(logits[t]) - logits[t, labels[t]], in f32
/// (f64 for f64). A label below 0 is ignored: its loss is 0 and its row of d_logits is 0. d_logits, when
/// defined, receives the gradient of d_loss * sum_t loss_weights[t] * loss[t], which is
/// d_loss * loss_weights[t] * (softmax(logits[t]) - onehot(labels[t])); it may be `logits` itself, so that a
/// training step holds one buffer of this size and passes over it once.
///
/// With `statistics` the columns are the shard of a larger vocabulary that begins at first_label: every shard
/// has as many columns, and `statistics` holds what cross_entropy_statistics gave for each, in their order.
/// The loss is then that of the whole vocabulary, the same bits on every rank.
///
/// On the CPU a label that is not in the vocabulary is an Error; on a GPU its loss is NaN.
struct CrossEntropyArgs {
  Tensor logits;      // [T, V] f64, f32 or bf16
  Tensor labels;      // [T] i32
  Tensor statistics;  // [R, 3, T] f32 (f64 for f64), or undefined
  int64_t first_label = 0;
  Tensor loss_weights;  // [T] f32 (f64 for f64), or undefined: all 1
  double d_loss = 1;
  Tensor loss;      // [T] out, f32 (f64 for f64)
  Tensor d_logits;  // [T, V] out, dtype of logits, or undefined
};
void cross_entropy(const CrossEntropyArgs& args, Exec& exec);

/// What a shard of the vocabulary adds to each token's loss: its largest logit, the sum of exp of its logits
/// less the largest, and the label's logit (0 where another shard holds it).
struct CrossEntropyStatisticsArgs {
  Tensor logits;  // [T, V]
  Tensor labels;  // [T] i32
  int64_t first_label = 0;
  Tensor statistics;  // [3, T] out, f32 (f64 for f64)
};
void cross_entropy_statistics(const CrossEntropyStatisticsArgs& args, Exec& exec);

/// out[0] = sum_t weights[t] * x[t], summed in f64 in an order that depends on T alone. x, weights: [T] f32
/// or f64, both the same; out: [1] f64.
void weighted_sum(const Tensor& x, const Tensor& weights, const Tensor& out, Exec& exec);

/// Rows of logits that a pass over `tokens` rows of `vocabulary` columns holds at a time: near-equal
/// multiples of 128 whose logits are at most 2^29 elements (1 GiB in bf16), or 128 rows where the vocabulary
/// has more than 2^22 columns.
int64_t cross_entropy_chunk_rows(int64_t tokens, int64_t vocabulary);

}  // namespace megalith
