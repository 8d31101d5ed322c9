#include "megalith/core/cuda/cuda_context.h"

#include <algorithm>
#include <cstring>

#include "megalith/base/error.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

CudaLimits limits_of(int device_index) {
  const auto attribute = [&](cudaDeviceAttr which) {
    int value = 0;
    MG_CUDA_CHECK(cudaDeviceGetAttribute(&value, which, device_index));
    return value;
  };
  cudaDeviceProp properties{};
  MG_CUDA_CHECK(cudaGetDeviceProperties(&properties, device_index));
  return {.name = properties.name,
          .sm_count = attribute(cudaDevAttrMultiProcessorCount),
          .arch = 10 * attribute(cudaDevAttrComputeCapabilityMajor) +
                  attribute(cudaDevAttrComputeCapabilityMinor),
          .shared_bytes_per_block = attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin),
          .l2_bytes = attribute(cudaDevAttrL2CacheSize),
          .memory_bytes = static_cast<int64_t>(properties.totalGlobalMem)};
}

void check_device(int device_index) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver) {
    int driver = 0, runtime = 0;
    cudaDriverGetVersion(&driver);
    cudaRuntimeGetVersion(&runtime);
    MG_CHECK(driver > 0, "device cuda:{}: this machine has no NVIDIA driver; allowed: cpu", device_index);
    fail("device cuda:{}: the driver speaks CUDA {}.{}, this build needs {}.{}; update the driver or use cpu",
         device_index, driver / 1000, driver % 1000 / 10, runtime / 1000, runtime % 1000 / 10);
  }
  MG_CHECK(error == cudaSuccess && count > 0,
           "device cuda:{}: there is no GPU that this process can use ({}); allowed: cpu", device_index,
           cudaGetErrorString(error));
  MG_CHECK(device_index >= 0 && device_index < count,
           "device cuda:{}: this machine has {} GPU{}; allowed: cuda:0 to cuda:{}, cpu", device_index, count,
           count == 1 ? "" : "s", count - 1);
}

}  // namespace

CudaContext::CudaContext(int device_index) {
  check_device(device_index);
  MG_CUDA_CHECK(cudaSetDevice(device_index));
  limits_ = limits_of(device_index);
  MG_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  int lowest = 0, highest = 0;
  MG_CUDA_CHECK(cudaDeviceGetStreamPriorityRange(&lowest, &highest));
  MG_CUDA_CHECK(cudaStreamCreateWithPriority(&comm_stream_, cudaStreamNonBlocking, highest));
  MG_CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&staging_), 2 * kHalfBytes));
  for (CUevent_st*& event : half_is_read_)
    MG_CUDA_CHECK(cudaEventCreateWithFlags(&event, cudaEventDisableTiming));
}

CudaContext::~CudaContext() {
  // Nothing may be thrown here, and nothing can be done about a failure.
  cudaStreamSynchronize(stream_);
  cudaStreamSynchronize(comm_stream_);
  for (CUevent_st* event : half_is_read_) cudaEventDestroy(event);
  cudaFreeHost(staging_);
  cudaStreamDestroy(comm_stream_);
  cudaStreamDestroy(stream_);
}

void CudaContext::change_half() {
  MG_CUDA_CHECK(cudaEventRecord(half_is_read_[half_], stream_));
  half_ = 1 - half_;
  used_in_half_ = 0;
  MG_CUDA_CHECK(cudaEventSynchronize(half_is_read_[half_]));
}

void CudaContext::upload(void* to, const void* from, int64_t bytes) {
  constexpr int64_t kAlignment = 64;
  const auto* source = static_cast<const std::byte*>(from);
  auto* target = static_cast<std::byte*>(to);
  while (bytes > 0) {
    if (used_in_half_ == kHalfBytes) change_half();
    const int64_t part = std::min(bytes, kHalfBytes - used_in_half_);
    std::byte* staged = staging_ + half_ * kHalfBytes + used_in_half_;
    std::memcpy(staged, source, static_cast<size_t>(part));
    MG_CUDA_CHECK(cudaMemcpyAsync(target, staged, static_cast<size_t>(part), cudaMemcpyDefault, stream_));
    used_in_half_ = std::min(kHalfBytes, (used_in_half_ + part + kAlignment - 1) / kAlignment * kAlignment);
    source += part;
    target += part;
    bytes -= part;
  }
}

void CudaContext::download(void* to, const void* from, int64_t bytes) {
  MG_CUDA_CHECK(cudaMemcpyAsync(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault, stream_));
  synchronize();
}

void CudaContext::clear(void* to, int64_t bytes) {
  MG_CUDA_CHECK(cudaMemsetAsync(to, 0, static_cast<size_t>(bytes), stream_));
}

void CudaContext::synchronize() {
  MG_CUDA_CHECK(cudaStreamSynchronize(stream_));
}

int cuda_device_count() {
  int count = 0;
  if (cudaGetDeviceCount(&count) == cudaSuccess) return count;
  cudaGetLastError();
  return 0;
}

std::byte* cuda_map(int device_index, int64_t bytes) {
  MG_CUDA_CHECK(cudaSetDevice(device_index));
  void* data = nullptr;
  // Allowed while this thread captures a graph, too: what it gets stays mapped.
  cudaStreamCaptureMode mode = cudaStreamCaptureModeRelaxed;
  MG_CUDA_CHECK(cudaThreadExchangeStreamCaptureMode(&mode));
  const cudaError_t error = cudaMalloc(&data, static_cast<size_t>(bytes));
  MG_CUDA_CHECK(cudaThreadExchangeStreamCaptureMode(&mode));
  if (error == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  MG_CUDA_CHECK(error);
  return static_cast<std::byte*>(data);
}

void cuda_unmap(int device_index, std::byte* data) {
  // Called from destructors: a failure here has been reported by the call that caused it.
  cudaSetDevice(device_index);
  cudaFree(data);
}

std::byte* cuda_map_host(int device_index, int64_t bytes) {
  MG_CUDA_CHECK(cudaSetDevice(device_index));
  void* data = nullptr;
  MG_CUDA_CHECK(cudaMallocHost(&data, static_cast<size_t>(bytes)));
  return static_cast<std::byte*>(data);
}

void cuda_unmap_host(int device_index, std::byte* data) {
  cudaSetDevice(device_index);  // as cuda_unmap
  cudaFreeHost(data);
}

CudaMemory cuda_memory(int device_index) {
  MG_CUDA_CHECK(cudaSetDevice(device_index));
  size_t free_bytes = 0, total_bytes = 0;
  MG_CUDA_CHECK(cudaMemGetInfo(&free_bytes, &total_bytes));
  return {static_cast<int64_t>(free_bytes), static_cast<int64_t>(total_bytes)};
}

void cuda_copy_to_host(int device_index, void* to, const void* from, int64_t bytes) {
  MG_CUDA_CHECK(cudaSetDevice(device_index));
  MG_CUDA_CHECK(cudaDeviceSynchronize());
  MG_CUDA_CHECK(cudaMemcpy(to, from, static_cast<size_t>(bytes), cudaMemcpyDefault));
}

}  // namespace megalith
