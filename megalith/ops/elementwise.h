#pragma once
// defines: add, sum_terms, scale_in_place, copy, fill, sum_rows, SumRowsArgs, scale_rows

#include "megalith/core/exec.h"

namespace megalith {

/// out = a + b. Same shape and dtype (f64, f32, bf16), contiguous rows; `out` may be `a` or `b`.
void add(const Tensor& a, const Tensor& b, const Tensor& out, Exec& exec);

/// out = terms[0] + terms[1] + ... in this order, in f32 (f64 for f64), rounded once: what a sum over ranks
/// makes of their terms. terms [n, ...], out [...]: f64, f32 or bf16, contiguous, without overlap.
void sum_terms(const Tensor& terms, const Tensor& out, Exec& exec);

/// x *= factor.
void scale_in_place(const Tensor& x, double factor, Exec& exec);

/// Converts between any two of f64, f32, bf16, f16, and copies any dtype to itself; both tensors may be
/// strided.
void copy(const Tensor& from, const Tensor& to, Exec& exec);

void fill(const Tensor& x, double value, Exec& exec);

/// out[h] (+)= sum over rows of x[t, h]: the gradient of a bias. x: f64, f32, bf16; out: f64 for f64, else
/// f32, or bf16 for bf16, rounded once. The order of the sums does not depend on the number of threads.
struct SumRowsArgs {
  Tensor x;    // [T, H]
  Tensor out;  // [H]
  bool accumulate = false;
};
void sum_rows(const SumRowsArgs& args, Exec& exec);

/// out[t, h] = x[t, h] * factors[t]; factors: f32 (f64 for f64). `out` may be `x`.
void scale_rows(const Tensor& x, const Tensor& factors, const Tensor& out, Exec& exec);

}  // namespace megalith
