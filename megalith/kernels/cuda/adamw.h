#pragma once
// defines: adamw, adamw_with, UpdateArgs, decide_update, sum_of_squares

#include "megalith/kernels/cpu/adamw.h"
#include "megalith/kernels/step_numbers.h"

namespace megalith::cuda {

/// As cpu::adamw, on the stream of `exec`.
void adamw(const cpu::AdamwArgs& args, Exec& exec);

/// The same with what changes from step to step read from the device: `numbers` is the device's. Without
/// `decays` the decay is 1.
void adamw_with(const AdamwNumbers* numbers, bool decays, const cpu::AdamwArgs& args, Exec& exec);

/// ops/update.h; every place is one that the device reads and writes.
struct UpdateArgs {
  const double* squares = nullptr;  // [num_terms]
  const double* weights = nullptr;  // [num_terms]
  int64_t num_terms = 0;
  double* loss = nullptr;
  const UpdateFactors* factors = nullptr;
  double max_norm = 0;
  bool is_always_applied = false;
  UpdateResults* results = nullptr;
  AdamwNumbers* numbers = nullptr;
};
void decide_update(const UpdateArgs& args, Exec& exec);

/// *sum = sum of x[i]^2 in double, in an order that depends on the count alone, which is above 0, and for
/// bf16 on where x lies. `sum` is the device's. x: f32 or bf16.
void sum_of_squares(DType dtype, const void* x, int64_t count, double* sum, Exec& exec);

}  // namespace megalith::cuda
