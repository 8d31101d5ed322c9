#pragma once
// defines: launch_early, let_next_begin, wait_for_last

#include <type_traits>

#include <cuda_runtime.h>

namespace megalith::cuda {

/// Launches a kernel whose blocks may take their places while the kernel before it on the stream still runs
/// (programmatic dependent launch): between small kernels nothing is lost. The kernel must call
/// wait_for_last() before it reads or writes device memory, and let_next_begin() at its start where it is
/// itself short.
template <class... Params>
cudaError_t launch_early(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared_bytes,
                         cudaStream_t stream, const std::type_identity_t<Params>&... args) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, kernel, args...);
}

/// The next kernel may take its places as soon as every block of this one has one.
__device__ inline void let_next_begin() {
  cudaTriggerProgrammaticLaunchCompletion();
}

/// Until all that the kernels before have written is there to be read.
__device__ inline void wait_for_last() {
  cudaGridDependencySynchronize();
}

}  // namespace megalith::cuda
