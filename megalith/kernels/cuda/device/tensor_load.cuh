#pragma once
// defines: TensorPlace, prefetch_map, load_box, load_box_for_cluster

#include <cstdint>

#include <cuda.h>

namespace megalith::cuda {

/// The corner of a box of a tensor of three dimensions, the innermost one first.
struct TensorPlace {
  int32_t x = 0, y = 0, z = 0;
};

__device__ inline void prefetch_map(const CUtensorMap& map) {
  asm volatile("prefetch.tensormap [%0];" ::"l"(&map) : "memory");
}

/// One thread asks the copy engine for a box of `map`; its bytes, zeros where it reaches past the tensor, are
/// counted at `barrier`.
__device__ inline void load_box(uint32_t to, const CUtensorMap& map, TensorPlace place, uint32_t barrier) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4}], "
      "[%5];" ::"r"(to),
      "l"(&map), "r"(place.x), "r"(place.y), "r"(place.z), "r"(barrier)
      : "memory");
}

/// The same into this place of every block of the cluster that is in `mask`, each at its own barrier.
__device__ inline void load_box_for_cluster(uint32_t to, const CUtensorMap& map, TensorPlace place,
                                            uint32_t barrier, uint16_t mask) {
  asm volatile(
      "cp.async.bulk.tensor.3d.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster [%0], "
      "[%1, {%2, %3, %4}], [%5], %6;" ::"r"(to),
      "l"(&map), "r"(place.x), "r"(place.y), "r"(place.z), "r"(barrier), "h"(mask)
      : "memory");
}

}  // namespace megalith::cuda
