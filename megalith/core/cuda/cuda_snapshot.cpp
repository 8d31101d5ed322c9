#include "megalith/core/cuda/cuda_snapshot.h"

#include "megalith/base/math.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

constexpr int64_t kAlignment = 256;

int64_t room_for(std::span<const std::byte> source) {
  return round_up(static_cast<int64_t>(source.size()), kAlignment);
}

}  // namespace

CudaSnapshot::CudaSnapshot(int device_index) {
  MG_CUDA_CHECK(cudaSetDevice(device_index));
  MG_CUDA_CHECK(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking));
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&is_current_, cudaEventDisableTiming));
  // A thread that waits for it leaves its core to others.
  MG_CUDA_CHECK(cudaEventCreateWithFlags(&is_taken_, cudaEventDisableTiming | cudaEventBlockingSync));
}

CudaSnapshot::~CudaSnapshot() {
  // Nothing may be thrown here, and nothing can be done about a failure.
  cudaStreamSynchronize(stream_);
  cudaEventDestroy(is_current_);
  cudaEventDestroy(is_taken_);
  cudaStreamDestroy(stream_);
  cudaFreeHost(memory_);
}

void CudaSnapshot::reserve(int64_t bytes) {
  if (bytes <= capacity_) return;
  MG_CUDA_CHECK(cudaFreeHost(memory_));
  memory_ = nullptr;
  capacity_ = 0;
  MG_CUDA_CHECK(cudaMallocHost(reinterpret_cast<void**>(&memory_), static_cast<size_t>(bytes)));
  capacity_ = bytes;
}

std::vector<std::span<const std::byte>> CudaSnapshot::take(
    std::span<const std::span<const std::byte>> sources, CudaContext& context) {
  MG_CUDA_CHECK(cudaStreamSynchronize(stream_));
  int64_t bytes = 0;
  for (const std::span<const std::byte> source : sources) bytes += room_for(source);
  reserve(bytes);
  MG_CUDA_CHECK(cudaEventRecord(is_current_, context.stream()));
  MG_CUDA_CHECK(cudaStreamWaitEvent(stream_, is_current_));
  std::vector<std::span<const std::byte>> copies;
  std::byte* place = memory_;
  for (const std::span<const std::byte> source : sources) {
    MG_CUDA_CHECK(cudaMemcpyAsync(place, source.data(), source.size(), cudaMemcpyDefault, stream_));
    copies.push_back({place, source.size()});
    place += room_for(source);
  }
  MG_CUDA_CHECK(cudaEventRecord(is_taken_, stream_));
  return copies;
}

void CudaSnapshot::hold_back(CudaContext& context) const {
  MG_CUDA_CHECK(cudaStreamWaitEvent(context.stream(), is_taken_));
}

void CudaSnapshot::wait() const {
  MG_CUDA_CHECK(cudaEventSynchronize(is_taken_));
}

}  // namespace megalith
