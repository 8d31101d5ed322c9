#pragma once
// defines: cuda::largest_column

#include <cstdint>

#include "megalith/core/dtype.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// See ops/largest_column.h; rows are `stride` elements apart.
struct LargestColumnProblem {
  DType dtype = DType::kF32;
  int64_t rows = 0, columns = 0, stride = 0;
  const void* x = nullptr;
  int32_t* out = nullptr;
};
void largest_column(const LargestColumnProblem& problem, Exec& exec);

}  // namespace megalith::cuda
