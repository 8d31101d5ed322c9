#pragma once
// defines: FillNormalArgs, fill_normal

#include "megalith/core/exec.h"

namespace megalith {

/// Element i of the tensor (row-major) becomes mean + std * n(i), n drawn from `rng` at index first_element +
/// i: a shard filled with its own first_element equals the slice of the whole. f64, f32, bf16 (rounded from
/// f32).
struct FillNormalArgs {
  Tensor x;
  double mean = 0;
  double std = 1;
  RngKey rng;
  int64_t first_element = 0;
};
void fill_normal(const FillNormalArgs& args, Exec& exec);

}  // namespace megalith
