#pragma once
// defines: permute_rows, combine_rows

#include "megalith/autograd/tape.h"
#include "megalith/ops/row_map.h"

namespace megalith {

/// y[m] = x[map.from[m]]: x [N, H] -> y [M, H].
Var permute_rows(Tape& tape, const Var& x, const RowMap& map);

/// y[n] = sum over k of x[map.to[n, k]]: x [M, H] -> y [N, H].
Var combine_rows(Tape& tape, const Var& x, const RowMap& map);

}  // namespace megalith
