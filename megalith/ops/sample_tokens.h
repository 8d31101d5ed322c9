#pragma once
// defines: SampleTokensArgs, sample_tokens

#include "megalith/core/exec.h"
#include "megalith/kernels/sampling.h"

namespace megalith {

/// Draws a token for each row of logits. A draw is a function of the logits and the random word alone: the
/// tokens lie side by side, the most probable first (of equal logits the lowest index), and the word says
/// where on their sum. A GPU's probabilities are rounded to f32 and then to 2^-40 of the largest, so that its
/// sums have no order: its token is the CPU's unless a word falls on the border between two.
///
/// Logits that are not numbers, or +inf: an Error on the CPU, the token -1 on a GPU. A greedy choice is
/// largest_column(), which passes over them, and reads no words.
struct SampleTokensArgs {
  Tensor logits;  // [B, V] f64, f32, bf16 or f16, rows strided
  Tensor words;   // [B] i32, any bits
  SamplingOptions options;
  Tensor out;  // [B] i32
};
void sample_tokens(const SampleTokensArgs& args, Exec& exec);

}  // namespace megalith
