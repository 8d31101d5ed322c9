#include "megalith/ops/dropout.h"

#include <cmath>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/dropout.h"
#include "megalith/kernels/cuda/random.h"
#include "megalith/ops/check.h"

namespace megalith {

void dropout(const DropoutArgs& args, Exec& exec) {
  const Tensor& x = args.x;
  const double p = args.probability;
  MG_CHECK(p >= 0 && p < 1, "dropout: probability {} is outside [0, 1)", p);
  check_float("dropout", "x", x, exec);
  check_rows("dropout", "x", x);
  check_tensor("dropout", "y", args.y, x.dtype(), x.shape(), exec);
  check_rows("dropout", "y", args.y);
  // uniform_from_bits(word) >= p, that is (word >> 9) + 0.5 >= p 2^23, in whole numbers.
  const auto threshold = static_cast<uint32_t>(std::ceil(std::max(0.0, p * 0x1p23 - 0.5)));
  const bool flat = are_flat({&x, &args.y});
  const cpu::DropoutArgs drop{.dtype = x.dtype(),
                              .rows = flat ? 1 : x.rows(),
                              .cols = flat ? x.numel() : x.dim(-1),
                              .x = x.raw(),
                              .y = args.y.raw(),
                              .x_stride = x.row_stride(),
                              .y_stride = args.y.row_stride(),
                              .rng = {args.rng.seed, args.rng.stream},
                              .threshold = threshold,
                              .scale = 1 / (1 - p)};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::dropout(drop, exec);
  }
  cpu::dropout(drop, exec);
}

}  // namespace megalith
