#pragma once
// defines: dropout

#include "megalith/autograd/tape.h"

namespace megalith {

/// Inverted dropout; the identity when probability is 0. The mask is drawn again in the backward, never
/// stored.
Var dropout(Tape& tape, const Var& x, double probability, RngKey rng);

}  // namespace megalith
