#pragma once
// defines: cuda::library_versions

#include <string>

namespace megalith::cuda {

/// "driver CUDA 13.0, runtime 13.0, cuBLASLt 13.1.0, cuDNN 9.14.0", of what this process has loaded.
std::string library_versions();

}  // namespace megalith::cuda
