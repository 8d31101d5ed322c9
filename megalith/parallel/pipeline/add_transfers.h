#pragma once
// defines: add_transfers

#include "megalith/parallel/pipeline/schedule.h"

namespace megalith {

/// Puts the sends and receives between the computations of a schedule that has none. A send follows what it
/// sends at once. A receive stands before the first computation that needs it or a later message of the same
/// rank, so that each rank receives in the order in which its peer sends; since a send never waits, this
/// deadlocks only where the computations themselves wait for one another.
void add_transfers(Schedule& schedule);

}  // namespace megalith
