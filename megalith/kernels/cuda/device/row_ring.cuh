#pragma once
// defines: RowRing

#include <cstdint>

namespace megalith::cuda {

/// A thread's vectors of the rows to come, on their way into shared memory while it works on a row: kTensors
/// vectors of 16 bytes for each of kStages rows. Nobody else reads them, so there is nothing to wait for but
/// one's own copies (cp.async). Takes bytes(threads) of dynamic shared memory.
template <int kTensors, int kStages>
class RowRing {
 public:
  static constexpr int64_t bytes(int64_t threads) { return threads * kTensors * kStages * 16; }
  static constexpr int kAhead = kStages - 1;

  __device__ explicit RowRing(void* shared)
      : base_(static_cast<uint32_t>(__cvta_generic_to_shared(shared)) + threadIdx.x * 16),
        stride_(blockDim.x * 16) {}

  /// Into the next free stage; undefined places are not read later.
  __device__ void fetch(const void* const (&places)[kTensors]) {
#pragma unroll
    for (int i = 0; i < kTensors; ++i) {
      if (places[i] != nullptr)
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(slot(write_, i)), "l"(places[i]));
    }
    end_fetch();
  }
  /// Instead of fetch() behind the last row: stages are counted.
  __device__ void end_fetch() {
    asm volatile("cp.async.commit_group;");
    write_ = write_ + 1 == kStages ? 0 : write_ + 1;
  }

  /// Waits for the oldest row and makes it the current one; its stage is the next to be filled.
  __device__ void advance() {
    asm volatile("cp.async.wait_group %0;" ::"n"(kAhead - 1) : "memory");
    read_ = read_ + 1 == kStages ? 0 : read_ + 1;
  }
  template <class Words>
  __device__ Words current(int tensor) const {
    static_assert(sizeof(Words) == 16);
    uint4 word;
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(word.x), "=r"(word.y), "=r"(word.z), "=r"(word.w)
                 : "r"(slot(read_, tensor)));
    return *reinterpret_cast<const Words*>(&word);
  }

 private:
  __device__ uint32_t slot(int stage, int tensor) const {
    return base_ + static_cast<uint32_t>(stage * kTensors + tensor) * stride_;
  }

  uint32_t base_, stride_;
  int write_ = 0, read_ = kStages - 1;
};

}  // namespace megalith::cuda
