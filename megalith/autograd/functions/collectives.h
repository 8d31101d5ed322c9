#pragma once
// defines: all_gather_rows, reduce_scatter_rows, copy_to_ranks, sum_over_ranks

#include "megalith/autograd/tape.h"
#include "megalith/comm/communicator.h"

namespace megalith {

// The collectives of tensor and sequence parallelism as pairs of forward and backward (Shoeybi et al. 2019,
// f and g; Korthikanti et al. 2022, g bar). x [T, H] contiguous; a group of one makes each the identity. The
// group must outlive the tape.

/// Forward: this rank's T rows and its peers' in rank order, [n T, H]. Backward: gradients are summed and
/// each rank takes its rows. The result can be gathered again in the backward instead of being kept.
Var all_gather_rows(Tape& tape, const Var& x, Communicator& group);

/// Forward: the sum over the ranks, of which each takes its T / n rows. Backward: gradients are gathered.
Var reduce_scatter_rows(Tape& tape, const Var& x, Communicator& group);

/// Forward: x, which all ranks hold alike. Backward: the sum of the ranks' gradients.
Var copy_to_ranks(Tape& tape, const Var& x, Communicator& group);

/// Forward: the sum over the ranks, written over x, which nothing else may read. Backward: the gradient,
/// which all ranks hold alike.
Var sum_over_ranks(Tape& tape, const Var& x, Communicator& group);

}  // namespace megalith
