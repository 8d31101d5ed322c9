#pragma once
// defines: GridBarrier

#include <cstdint>

namespace megalith::cuda {

/// All threads of a grid that was launched cooperatively, its blocks all in their places: what they wrote
/// before is there to be read. `counter` is 0 when the kernel begins.
class GridBarrier {
 public:
  __device__ explicit GridBarrier(uint32_t* counter) : counter_(counter) {}

  __device__ void wait() {
    __syncthreads();
    if (threadIdx.x == 0) {
      expected_ += gridDim.x;
      asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter_) : "memory");
      uint32_t arrived = 0;
      while (arrived < expected_)
        asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(arrived) : "l"(counter_) : "memory");
    }
    __syncthreads();
  }

 private:
  uint32_t* counter_;
  uint32_t expected_ = 0;
};

}  // namespace megalith::cuda
