#include "megalith/kernels/cuda/vendor/versions.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <cudnn.h>
#include <fmt/format.h>

namespace megalith::cuda {
namespace {

// 13000 -> "13.0" with a unit of 1000 and 10, 91400 -> "9.14.0" with 10000 and 100.
std::string cuda_version(int version) {
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}
std::string three_numbers(size_t version, size_t major, size_t minor) {
  return fmt::format("{}.{}.{}", version / major, version % major / minor, version % minor);
}

}  // namespace

std::string library_versions() {
  int driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  return fmt::format("driver CUDA {}, runtime {}, cuBLASLt {}, cuDNN {}", cuda_version(driver),
                     cuda_version(runtime), three_numbers(cublasLtGetVersion(), 10000, 100),
                     three_numbers(cudnnGetVersion(), 10000, 100));
}

}  // namespace megalith::cuda
