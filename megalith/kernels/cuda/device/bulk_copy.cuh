#pragma once
// defines: load_bulk, store_bulk, end_bulk_stores, wait_until_stores_have_read, wait_for_bulk_stores

#include <cstdint>

namespace megalith::cuda {

/// The copy engine of a multiprocessor moves bytes between shared and device memory, of this GPU or of one
/// that it reaches; places and sizes are multiples of 16 bytes. One thread asks.

/// What comes is counted at `barrier` (shared_barrier.cuh).
__device__ inline void load_bulk(uint32_t to, const void* from, uint32_t bytes, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1], %2, [%3];" ::"r"(to),
      "l"(from), "r"(bytes), "r"(barrier)
      : "memory");
}

__device__ inline void store_bulk(void* to, uint32_t from, uint32_t bytes) {
  asm volatile("cp.async.bulk.global.shared::cta.bulk_group [%0], [%1], %2;" ::"l"(to), "r"(from), "r"(bytes)
               : "memory");
}
/// The stores that this thread has asked for since the last call are one group.
__device__ inline void end_bulk_stores() {
  asm volatile("cp.async.bulk.commit_group;" ::: "memory");
}
/// Until this thread's groups have read shared memory: it may be written again.
__device__ inline void wait_until_stores_have_read() {
  asm volatile("cp.async.bulk.wait_group.read 0;" ::: "memory");
}
/// Until they have written, too.
__device__ inline void wait_for_bulk_stores() {
  asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
}

}  // namespace megalith::cuda
