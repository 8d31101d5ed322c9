#pragma once
// defines: ActionCosts, TimedAction, Timeline, simulate, validate

#include <vector>

#include "megalith/parallel/pipeline/schedule.h"

namespace megalith {

/// Times of one microbatch through all layers of a rank, in any unit; a chunk takes its share of them.
struct ActionCosts {
  double forward = 1;
  double backward_input = 1;
  double backward_weight = 1;
  double transfer = 0;       ///< from a send to the end of its receive
  double saved_by_pair = 0;  ///< what a paired forward takes less
  /// Work of each stage relative to an even split (mean 1); empty: an even split.
  std::vector<double> stage_work;
};

struct TimedAction {
  Action action;
  double begin = 0;
  double end = 0;  ///< a receive ends when its message is there, a send at once
};

struct Timeline {
  std::vector<std::vector<TimedAction>> ranks;
  double duration = 0;         ///< until the last rank is done
  std::vector<double> busy;    ///< computing time of each rank
  double bubble_fraction = 0;  ///< of duration x ranks, the part that is not computing

  /// For each rank, the most chunks whose activations are held at once: from the start of the forward to the
  /// end of the backward (of the weight gradients where they are apart). The two of a pair count as one: the
  /// forward keeps a layer's activations where the backward has just given back another's.
  std::vector<int> peak_in_flight;
};

/// Runs the schedule on paper. Every rank does its actions in order; throws Error naming rank, position and
/// action where
///  - an action is out of range, done twice, or its input is not there (forward before backward before
///    weight gradients; outputs and gradients pass between stages of a rank or through a message),
///  - a paired forward is not followed by the backward of another microbatch,
///  - a receive does not match the next message of its peer, or no rank can go on,
///  - something is missing at the end: a computation, or the receive of a message.
Timeline simulate(const Schedule& schedule, const ActionCosts& costs);

/// The same with unit times, for its errors alone.
void validate(const Schedule& schedule);

}  // namespace megalith
