#pragma once
// defines: NormWeights, NormResult, norm, add_norm

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"
#include "megalith/ops/norm.h"

namespace megalith {

struct NormWeights {
  NormKind kind = NormKind::kRmsNorm;
  Parameter* weight = nullptr;  // [H]
  Parameter* bias = nullptr;    // [H], LayerNorm only
  double eps = 1e-5;
};

struct NormResult {
  Var sum;  // [T, H]: x + residual, what the next residual is
  Var y;    // [T, H]: normalised
};

/// y = norm(x); sum is x itself, and what goes on from there should go on from sum: its gradient is then
/// added in the pass of the norm's backward.
NormResult norm(Tape& tape, const Var& x, const NormWeights& weights);

/// sum = x + residual, y = norm(sum), in one pass.
NormResult add_norm(Tape& tape, const Var& x, const Var& residual, const NormWeights& weights);

}  // namespace megalith
