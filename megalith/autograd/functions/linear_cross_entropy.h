#pragma once
// defines: LinearCrossEntropyArgs, linear_cross_entropy

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"
#include "megalith/comm/communicator.h"

namespace megalith {

struct LinearCrossEntropyArgs {
  Tensor labels;        // [T] i32, below 0: ignored
  Tensor loss_weights;  // [T] f32 (f64 for f64)
  /// The gradient that Tape::backward will be given for the loss. It is needed in the forward.
  double d_loss = 1;
  /// Ranks that hold equal shards of the vocabulary in their order: rank r has rows [r V, (r + 1) V). Labels
  /// are those of the whole. Null or a group of one: the weight is whole. Must outlive the call only.
  Communicator* group = nullptr;
  int64_t chunk_rows = 0;  ///< rows of logits held at a time; 0: cross_entropy_chunk_rows(T, V)
};

/// The language-model head and its loss: sum_t loss_weights[t] * -log softmax(x[t] W^T)[labels[t]], [1] f64,
/// the same bits on every rank of a group. x [T, H] contiguous, weight [V, H].
///
/// Works through the tokens in chunks and holds [chunk, V] logits, never [T, V]. When the tape records, each
/// chunk's gradients are computed at once, while its logits are there, so that no product is done twice: the
/// forward writes d_x [T, H], which the node keeps in the place of x, and adds to the weight's main_grad.
/// Therefore the gradients' fresh marks are set before the forward, this weight gradient is never in a
/// WgradQueue, and every recorded forward counts, whether its backward runs or not. backward_input passes d_x
/// on and, on the CPU, throws Error when the gradient of the loss is not d_loss (on a GPU, looking would wait
/// for the device).
///
/// With a group, d_x is the part that this rank's shard gives: the function that brought x to the ranks sums
/// it (copy_to_ranks, all_gather_rows). Per chunk one all_gather of [3, chunk] is exchanged.
Var linear_cross_entropy(Tape& tape, const Var& x, Parameter& weight, const LinearCrossEntropyArgs& args);

}  // namespace megalith
