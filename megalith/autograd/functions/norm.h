#pragma once
// defines: NormWeights, NormResult, norm, add_norm, NormPeers, sum_add_norm

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"
#include "megalith/comm/peer_access.h"
#include "megalith/ops/norm.h"

namespace megalith {

struct NormWeights {
  NormKind kind = NormKind::kRmsNorm;
  Parameter* weight = nullptr;  // [H]
  Parameter* bias = nullptr;    // [H], LayerNorm only
  double eps = 1e-5;
};

struct NormResult {
  Var sum;            // [T, H]: x + residual, what the next residual is
  Var y;              // [T, H]: normalised
  Tensor whole = {};  // [n T, H]: y of all ranks, where it was gathered on the way
};

/// y = norm(x); sum is x itself, and what goes on from there should go on from sum: its gradient is then
/// added in the pass of the norm's backward.
NormResult norm(Tape& tape, const Var& x, const NormWeights& weights);

/// sum = x + residual, y = norm(sum), in one pass.
NormResult add_norm(Tape& tape, const Var& x, const Var& residual, const NormWeights& weights);

/// The ranks whose terms are summed; `rank` is this one.
struct NormPeers {
  PeerAccess* access = nullptr;
  int rank = 0;
};
/// The same where x is the sum of the ranks' terms [n T, H], of which this rank gets its rows, and y is given
/// to all ranks: one kernel (ops/peer_norm.h). The value of `term` on the tape is x.
NormResult sum_add_norm(Tape& tape, const Var& term, const Var& residual, const NormWeights& weights,
                        const NormPeers& peers);

}  // namespace megalith
