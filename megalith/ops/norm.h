#pragma once
// defines: NormKind, NormArgs, norm, NormBackwardArgs, norm_backward

#include "megalith/core/exec.h"

namespace megalith {

/// RMSNorm (Zhang and Sennrich 2019): y = x / sqrt(mean(x^2) + eps) * w.
/// LayerNorm (Ba et al. 2016): y = (x - mean(x)) / sqrt(var(x) + eps) * w + b.
enum class NormKind { kRmsNorm, kLayerNorm };

/// Normalises rows; with `residual` it first adds it: sum = x + residual, y = norm(sum). Without it `sum`,
/// where it is defined, gets a copy of x, which y may then be written over.
/// x, residual, weight, bias, sum, y: f64, f32 or bf16, all the same. Statistics: f32 (f64 for f64).
/// Rows are those of [T, H], or of [T, N, H] where N of them stand side by side and the T at any one
/// distance: heads [T, N, D] of rows that hold more.
struct NormArgs {
  NormKind kind = NormKind::kRmsNorm;
  Tensor x;         // [T, H]
  Tensor residual;  // [T, H] or undefined
  Tensor weight;    // [H]
  Tensor bias;      // [H], LayerNorm only, or undefined
  double eps = 1e-5;
  Tensor sum;   // [T, H] out, or undefined without residual
  Tensor y;     // [T, H] out
  Tensor mean;  // [T] out, LayerNorm only
  Tensor rstd;  // [T] out: 1 / sqrt(mean square or variance + eps)
};
void norm(const NormArgs& args, Exec& exec);

/// x is what was normalised (the sum, where there was a residual). d_x = gradient through the norm (+ d_sum).
struct NormBackwardArgs {
  NormKind kind = NormKind::kRmsNorm;
  Tensor d_y;    // [T, H]
  Tensor d_sum;  // [T, H] or undefined: the gradient that reaches the sum along the residual stream
  Tensor x;      // [T, H]
  Tensor weight, mean, rstd;
  Tensor d_x;               // [T, H] out; may be d_sum or d_y itself
  Tensor d_weight;          // [H] f32 (f64 for f64; or bf16 for bf16), or undefined
  Tensor d_bias;            // [H] likewise; of one dtype
  bool accumulate = false;  ///< d_weight and d_bias are added to
};
void norm_backward(const NormBackwardArgs& args, Exec& exec);

}  // namespace megalith
