#pragma once
// defines: CudaSnapshot

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "megalith/core/cuda/cuda_context.h"
#include "megalith/core/cuda/pinned_region.h"

namespace megalith {

/// Copies of device memory in pinned host memory, made by a copy engine beside the device's other work. The
/// memory stays from one snapshot to the next and grows with the largest.
class CudaSnapshot {
 public:
  explicit CudaSnapshot(int device_index);
  ~CudaSnapshot();
  CudaSnapshot(const CudaSnapshot&) = delete;
  CudaSnapshot& operator=(const CudaSnapshot&) = delete;

  /// Has the host memory for copies of `sources` made ready meanwhile, so that the first take() finds it.
  void prepare(std::span<const std::span<const std::byte>> sources);
  /// Asks for copies of `sources` as they are behind what is on the context's stream now, and returns without
  /// waiting: the places of the copies, in order, full after wait(). A source may change only behind
  /// hold_back(). The previous snapshot's copies are lost.
  std::vector<std::span<const std::byte>> take(std::span<const std::span<const std::byte>> sources,
                                               CudaContext& context);
  /// What is asked of the context's stream from now on begins when the copies are made.
  void hold_back(CudaContext& context) const;
  /// The calling thread, which may be any, waits until the copies are made.
  void wait() const;

 private:
  int device_index_;
  CUstream_st* stream_ = nullptr;
  CUevent_st* is_current_ = nullptr;  // the sources are what they are to be
  CUevent_st* is_taken_ = nullptr;
  std::unique_ptr<PinnedRegion> region_;
};

}  // namespace megalith
