#pragma once
// defines: adamw, sum_of_squares

#include "megalith/kernels/cpu/adamw.h"

namespace megalith::cuda {

/// As cpu::adamw, on the stream of `exec`.
void adamw(const cpu::AdamwArgs& args, Exec& exec);

/// In double, in an order that depends on the count alone. Waits for the result.
double sum_of_squares(const float* x, int64_t count, Exec& exec);

}  // namespace megalith::cuda
