#pragma once
// defines: MG_CUDA_CHECK, cuda_failed

#include <cuda_runtime_api.h>

namespace megalith {

/// Throws Error with the statement, the place, the device and what CUDA says.
[[noreturn]] void cuda_failed(cudaError_t error, const char* statement, const char* file, int line);

}  // namespace megalith

#define MG_CUDA_CHECK(statement)                                         \
  do {                                                                   \
    if (const cudaError_t mg_error = (statement); mg_error) [[unlikely]] \
      ::megalith::cuda_failed(mg_error, #statement, __FILE__, __LINE__); \
  } while (0)
