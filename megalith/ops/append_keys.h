#pragma once
// defines: AppendKeysArgs, append_keys

#include "megalith/core/exec.h"

namespace megalith {

/// keys[:, place : place + S] = k and values[:, place : place + S] = v, with a place that is read when the op
/// runs on the device: a decode step is captured once and replayed while the sequence grows. A token that
/// does not fit is left out. All f64, f32 or bf16, rows of D contiguous.
struct AppendKeysArgs {
  Tensor k, v;          // [B, S, K, D]
  Tensor place;         // [1] i32
  Tensor keys, values;  // [B, L, K, D]
};
void append_keys(const AppendKeysArgs& args, Exec& exec);

}  // namespace megalith
