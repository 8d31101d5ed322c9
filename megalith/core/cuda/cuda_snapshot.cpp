#include "megalith/core/cuda/cuda_snapshot.h"

#include <algorithm>

#include "megalith/base/math.h"
#include "megalith/core/cuda/check.h"

namespace megalith {
namespace {

constexpr int64_t kAlignment = 256;

int64_t room_for(std::span<const std::byte> source) {
  return round_up(static_cast<int64_t>(source.size()), kAlignment);
}

// What lies from `at` on in a region, in copies that stay within its pieces.
void copy_in_pieces(std::byte* region, int64_t at, std::span<const std::byte> source, CUstream_st* stream) {
  while (!source.empty()) {
    const auto left_in_piece =
        static_cast<size_t>(PinnedRegion::kPieceBytes - at % PinnedRegion::kPieceBytes);
    const size_t bytes = std::min(source.size(), left_in_piece);
    MG_CUDA_CHECK(cudaMemcpyAsync(region + at, source.data(), bytes, cudaMemcpyDefault, stream));
    source = source.subspan(bytes);
    at += static_cast<int64_t>(bytes);
  }
}

}  // namespace

CudaSnapshot::CudaSnapshot(int device_index) : device_index_(device_index) {
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
}

void CudaSnapshot::prepare(std::span<const std::span<const std::byte>> sources) {
  int64_t bytes = 0;
  for (const std::span<const std::byte> source : sources) bytes += room_for(source);
  if (region_ != nullptr && bytes <= region_->size()) return;
  region_ = nullptr;
  region_ = std::make_unique<PinnedRegion>(device_index_, bytes);
}

std::vector<std::span<const std::byte>> CudaSnapshot::take(
    std::span<const std::span<const std::byte>> sources, CudaContext& context) {
  MG_CUDA_CHECK(cudaStreamSynchronize(stream_));
  prepare(sources);
  std::byte* memory = region_->memory();
  MG_CUDA_CHECK(cudaEventRecord(is_current_, context.stream()));
  MG_CUDA_CHECK(cudaStreamWaitEvent(stream_, is_current_));
  std::vector<std::span<const std::byte>> copies;
  int64_t at = 0;
  for (const std::span<const std::byte> source : sources) {
    copy_in_pieces(memory, at, source, stream_);
    copies.push_back({memory + at, source.size()});
    at += room_for(source);
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
