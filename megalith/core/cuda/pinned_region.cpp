#include "megalith/core/cuda/pinned_region.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include <sys/mman.h>

#include "megalith/base/math.h"
#include "megalith/core/cuda/check.h"

namespace megalith {

PinnedRegion::PinnedRegion(int device_index, int64_t bytes)
    : size_(std::max(round_up(bytes, kPieceBytes), kPieceBytes)) {
  const auto length = static_cast<size_t>(size_);
  void* place =
      mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  MG_CHECK(place != MAP_FAILED, "{} bytes of host memory for copies of tensors: {}", size_,
           std::strerror(errno));
  memory_ = static_cast<std::byte*>(place);
  madvise(memory_, length, MADV_HUGEPAGE);  // fewer pages to pin; without it the same, slower
  thread_ = std::thread([this, device_index] {
    try {
      pin(device_index);
    } catch (...) {
      error_ = std::current_exception();
    }
  });
}

PinnedRegion::~PinnedRegion() {
  is_unwanted_ = true;
  if (thread_.joinable()) thread_.join();
  // Nothing may be thrown here, and nothing can be done about a failure.
  for (int64_t at = 0; at < pinned_; at += kPieceBytes) cudaHostUnregister(memory_ + at);
  munmap(memory_, static_cast<size_t>(size_));
}

void PinnedRegion::pin(int device_index) {
  constexpr int64_t kPageBytes = 4096;
  MG_CUDA_CHECK(cudaSetDevice(device_index));
  while (pinned_ < size_ && !is_unwanted_) {
    std::byte* piece = memory_ + pinned_;
    // The kernel finds the pages here and not under a lock of the driver.
    for (int64_t at = 0; at < kPieceBytes; at += kPageBytes) piece[at] = std::byte{0};
    MG_CUDA_CHECK(cudaHostRegister(piece, kPieceBytes, cudaHostRegisterPortable));
    pinned_ += kPieceBytes;
  }
}

std::byte* PinnedRegion::memory() {
  if (thread_.joinable()) thread_.join();
  if (error_ != nullptr) std::rethrow_exception(error_);
  return memory_;
}

}  // namespace megalith
