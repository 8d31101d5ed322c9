#pragma once
// defines: DropoutArgs, dropout

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"
#include "megalith/kernels/cpu/philox.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// y = x * scale where the upper 23 bits of the element's random word are at least `threshold`, else 0. The
/// word of (row, col) is RngKey::bits(row * cols + col). Strides in elements.
struct DropoutArgs {
  DType dtype = DType::kF32;
  int64_t rows = 0, cols = 0;
  const void* x = nullptr;
  void* y = nullptr;
  int64_t x_stride = 0, y_stride = 0;
  PhiloxKey rng;
  uint32_t threshold = 0;
  double scale = 1;
  int num_threads = 1;  // set by dropout()
};
void dropout(DropoutArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void dropout(const DropoutArgs& args))

}  // namespace megalith::cpu
