#pragma once
// defines: RopeArgs, rope

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// Turns the pairs (x[i], x[i + pairs]) of every head by the angle whose cosine and sine stand in row
/// positions[t] of the tables; with `inverse` by the opposite angle.
struct RopeArgs {
  DType dtype = DType::kF32;
  void* x = nullptr;
  int64_t tokens = 0, heads = 0, pairs = 0;
  int64_t token_stride = 0, head_stride = 0;  // in elements
  const void* cos = nullptr;                  // [positions, pairs], f32 (f64 for f64)
  const void* sin = nullptr;
  const int32_t* positions = nullptr;  // [tokens]
  bool inverse = false;
  int num_threads = 1;  // set by rope()
};
void rope(RopeArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void rope(const RopeArgs& args))

}  // namespace megalith::cpu
