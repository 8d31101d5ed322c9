#pragma once
// defines: largest_column

#include "megalith/core/exec.h"

namespace megalith {

/// out[t] = the column of the largest x[t, :], the lowest of equal ones; 0 for a row of NaN alone. x [T, V]
/// f64, f32 or bf16, rows strided; out [T] i32.
void largest_column(const Tensor& x, const Tensor& out, Exec& exec);

}  // namespace megalith
