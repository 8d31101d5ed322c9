#pragma once
// defines: RopeDirection, RopeArgs, rope

#include "megalith/core/exec.h"

namespace megalith {

enum class RopeDirection { kForward, kBackward };

/// Rotary position embedding (Su et al. 2021, eq. 34), in place, in the half-split layout of Megatron and
/// Llama: the first 2R of the D dimensions of each head turn in pairs (i, i + R), i < R; the rest pass
/// through. kBackward turns by the opposite angle, which is the gradient.
struct RopeArgs {
  Tensor x;         // [T, heads, D], f64, f32 or bf16, strided over T allowed (a slice of the fused QKV rows)
  Tensor cos, sin;  // [positions, R], f32 (f64 for f64)
  Tensor positions;  // [T] i32: row of the table for each token
  RopeDirection direction = RopeDirection::kForward;
};
void rope(const RopeArgs& args, Exec& exec);

}  // namespace megalith
