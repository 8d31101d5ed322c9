#pragma once
// defines: HeadRange, head_norm

#include "megalith/autograd/functions/norm.h"

namespace megalith {

/// Heads [first, first + count) of `dim` dimensions each in rows that hold heads side by side.
struct HeadRange {
  int64_t first = 0, count = 0;
  int64_t dim = 0;
};

/// Normalises each of these heads in every row of x [T, W] by itself, in place: the result shares x's memory,
/// and x must not be needed by anyone else. The weights are vectors [dim], the same for all heads.
Var head_norm(Tape& tape, const Var& x, const HeadRange& heads, const NormWeights& weights);

}  // namespace megalith
