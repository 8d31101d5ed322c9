#pragma once
// defines: cuda::TensorMapArgs, cuda::make_tensor_map

#include <cstdint>

#include <cuda.h>

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// A bf16 tensor of three dimensions, the innermost one first, and the box of it that one copy takes; the
/// innermost extent of a box is 64 elements, which the 128-byte swizzle asks for. `data` and the strides are
/// multiples of 16 bytes.
struct TensorMapArgs {
  const void* data = nullptr;
  int64_t extents[3] = {1, 1, 1};
  int64_t strides[2] = {};  ///< of the second and third dimension, in elements
  int box[3] = {64, 1, 1};
};

/// What the copy engine is told (TMA); valid as long as the memory is. Places outside the extents read as
/// zeros.
CUtensorMap make_tensor_map(const TensorMapArgs& args, Exec& exec);

}  // namespace megalith::cuda
