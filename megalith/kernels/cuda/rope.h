#pragma once
// defines: rope

#include "megalith/kernels/cpu/rope.h"

namespace megalith::cuda {

/// As cpu::rope, on the stream of `exec`. The positions lie on the GPU and are not checked on the host: a
/// token whose position is outside the table of `num_positions` becomes NaN.
void rope(const cpu::RopeArgs& args, int64_t num_positions, Exec& exec);

}  // namespace megalith::cuda
