#pragma once
// defines: sequence_positions

#include "megalith/core/exec.h"

namespace megalith {

/// Positions 0 .. S-1 in each of B sequences of one document: [B S] i32.
Tensor sequence_positions(int64_t batch, int64_t seq, Exec& exec);

}  // namespace megalith
