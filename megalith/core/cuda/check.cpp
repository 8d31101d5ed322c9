#include "megalith/core/cuda/check.h"

#include <string_view>

#include "megalith/base/error.h"

namespace megalith {

void cuda_failed(cudaError_t error, const char* statement, const char* file, int line) {
  int device = -1;
  cudaGetDevice(&device);
  cudaGetLastError();  // a launch error that is not sticky is reported once
  fail("cuda:{}: {} failed: {} ({}) at {}:{}", device, statement, cudaGetErrorString(error),
       cudaGetErrorName(error), file, line);
}

}  // namespace megalith
