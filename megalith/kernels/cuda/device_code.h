#pragma once
// defines: cuda::KernelNeeds, cuda::DeviceCode, cuda::inspect_device_code, cuda::check_device_code

#include <cstdint>
#include <string>
#include <vector>

#include "megalith/core/cuda/cuda_context.h"

namespace megalith::cuda {

struct KernelNeeds {
  std::string name;
  int arch = 0;  ///< of the machine code that runs here: 90
  int registers = 0;
  int max_threads = 0;
  int64_t shared_bytes = 0;  ///< that it declares, or the most that it is launched with
};

struct DeviceCode {
  std::vector<KernelNeeds> kernels;
  std::vector<std::string> idle;      ///< kernels of Hopper's instructions alone, on another GPU: others work
  std::vector<std::string> refusals;  ///< what cannot run on the device, and why; empty: all can
};

/// Loads every kernel that is linked into this program for the current device, whose limits are given, and
/// asks what it needs.
DeviceCode inspect_device_code(const CudaLimits& limits);

/// Throws Error with the refusals.
void check_device_code(const CudaLimits& limits);

}  // namespace megalith::cuda
