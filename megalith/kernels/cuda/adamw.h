#pragma once
// defines: adamw, sum_of_squares

#include "megalith/kernels/cpu/adamw.h"

namespace megalith::cuda {

/// As cpu::adamw, on the stream of `exec`.
void adamw(const cpu::AdamwArgs& args, Exec& exec);

/// *sum = sum of x[i]^2 in double, in an order that depends on the count alone, which is above 0. `sum` is
/// the device's.
void sum_of_squares(const float* x, int64_t count, double* sum, Exec& exec);

}  // namespace megalith::cuda
