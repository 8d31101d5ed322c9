#pragma once
// defines: AdamwSchedule, adamw_factors, AdamwArgs, adamw, sum_of_squares

#include "megalith/core/exec.h"
#include "megalith/kernels/step_numbers.h"

namespace megalith {

/// What the factors of a step follow from.
struct AdamwSchedule {
  double lr = 0, weight_decay = 0, beta1 = 0.9, beta2 = 0.999;
  int64_t step = 1;  ///< counts from 1
};
AdamwFactors adamw_factors(const AdamwSchedule& schedule);

/// AdamW (Loshchilov and Hutter 2019, algorithm 2) over flat buffers, in place:
///   g = grad_scale * grad;  m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2
///   master = master * (1 - lr * weight_decay) - lr * (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) +
///   eps);  param = round(master)
struct AdamwArgs {
  Tensor param;       // [n] bf16 or f32: what the model computes with; may be `master` itself in f32
  Tensor master;      // [n] f32
  Tensor grad;        // [n] f32, or bf16 with a bf16 param
  Tensor exp_avg;     // [n] f32
  Tensor exp_avg_sq;  // [n] f32
  double lr = 0, beta1 = 0.9, beta2 = 0.999, eps = 1e-8, weight_decay = 0;
  double grad_scale = 1;  ///< clipping and loss scale in one factor
  int64_t step = 1;       ///< counts from 1
  /// AdamwNumbers or undefined: in place of lr, step, grad_scale and, where it is not 0,
  /// weight_decay, with the same bits (ops/update.h). Read when the device gets there.
  Tensor numbers;
};
void adamw(const AdamwArgs& args, Exec& exec);

/// Sum of squares of an f32 or bf16 buffer in double, in an order that does not depend on the number of
/// threads. Inf and NaN come through.
void sum_of_squares(const Tensor& x, const Tensor& sum, Exec& exec);  // x [n], sum [1] f64
/// Waits for the result.
double sum_of_squares(const Tensor& x, Exec& exec);

}  // namespace megalith
