#pragma once
// defines: RopeTables, rope

#include "megalith/autograd/tape.h"

namespace megalith {

struct RopeTables {
  Tensor cos, sin;   // [positions, R]
  Tensor positions;  // [T] i32
};

/// Turns the first `num_heads` heads of D dimensions in each row of x [T, W], in place: the result shares x's
/// memory, and x must not be needed by anyone else. In the fused rows [Q | K | V] one call turns queries and
/// keys.
Var rope(Tape& tape, const Var& x, const RopeTables& tables, int64_t num_heads, int64_t head_dim);

}  // namespace megalith
