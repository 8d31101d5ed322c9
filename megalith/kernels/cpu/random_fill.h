#pragma once
// defines: FillNormalArgs, fill_normal

#include "megalith/core/dtype.h"
#include "megalith/core/rng.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// x[i] = mean + std * n(first_element + i) over contiguous elements; n as in normal_from_block.
struct FillNormalArgs {
  DType dtype = DType::kF32;
  void* x = nullptr;
  int64_t count = 0;
  double mean = 0, std = 1;
  RngKey rng;
  int64_t first_element = 0;
};
void fill_normal(const FillNormalArgs& args, Exec& exec);

}  // namespace megalith::cpu
