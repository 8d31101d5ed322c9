#pragma once
// defines: cuda::SampleProblem, cuda::sample_tokens

#include <cstdint>

#include "megalith/core/dtype.h"
#include "megalith/kernels/sampling.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// See ops/sample_tokens.h; rows are `stride` elements apart. Not greedy.
struct SampleProblem {
  DType dtype = DType::kF32;
  int64_t rows = 0, columns = 0, stride = 0;
  const void* logits = nullptr;
  const int32_t* words = nullptr;
  SamplingOptions options;
  int32_t* out = nullptr;
};
void sample_tokens(const SampleProblem& problem, Exec& exec);

}  // namespace megalith::cuda
