#pragma once
// defines: DropoutArgs, dropout

#include "megalith/core/exec.h"

namespace megalith {

/// y = x / (1 - p) where the element's random word keeps it, else 0 (Srivastava et al. 2014, inverted form).
/// The mask depends on (rng, element index) only, so the gradient is the same call on d_y with the same key.
/// `y` may be `x`. f64, f32, bf16.
struct DropoutArgs {
  Tensor x, y;  // [T, H]
  double probability = 0;
  RngKey rng;
};
void dropout(const DropoutArgs& args, Exec& exec);

}  // namespace megalith
