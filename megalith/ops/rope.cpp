#include "megalith/ops/rope.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/rope.h"
#include "megalith/kernels/cuda/rope.h"
#include "megalith/ops/check.h"

namespace megalith {

void rope(const RopeArgs& args, Exec& exec) {
  const Tensor& x = args.x;
  check_float("rope", "x", x, exec);
  MG_CHECK(x.rank() == 3, "rope: x has shape {}, not [T, heads, D]", x.shape().str());
  MG_CHECK(x.dim(2) <= 1 || x.stride(2) == 1, "rope: the heads of x are not contiguous");
  MG_CHECK(args.cos.defined() && args.cos.rank() == 2, "rope: cos is not a table [positions, R]");
  const int64_t num_positions = args.cos.dim(0);
  const int64_t pairs = args.cos.dim(1);
  MG_CHECK(2 * pairs <= x.dim(2), "rope: the tables turn {} pairs, but a head has {} elements", pairs,
           x.dim(2));
  check_tensor("rope", "cos", args.cos, accumulate_dtype(x.dtype()), Shape{num_positions, pairs}, exec);
  check_tensor("rope", "sin", args.sin, accumulate_dtype(x.dtype()), Shape{num_positions, pairs}, exec);
  check_contiguous("rope", "cos", args.cos);
  check_contiguous("rope", "sin", args.sin);
  check_tensor("rope", "positions", args.positions, DType::kI32, Shape{x.dim(0)}, exec);
  check_contiguous("rope", "positions", args.positions);
  const int32_t* positions = args.positions.data<int32_t>();
  const cpu::RopeArgs turn{.dtype = x.dtype(),
                           .x = x.raw(),
                           .tokens = x.dim(0),
                           .heads = x.dim(1),
                           .pairs = pairs,
                           .token_stride = x.stride(0),
                           .head_stride = x.stride(1),
                           .cos = args.cos.raw(),
                           .sin = args.sin.raw(),
                           .positions = positions,
                           .inverse = args.direction == RopeDirection::kBackward};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::rope(turn, num_positions, exec);
  }
  for (int64_t t = 0; t < x.dim(0); ++t) {
    MG_CHECK(positions[t] >= 0 && positions[t] < num_positions,
             "rope: position {} of token {} is outside the table of {}", positions[t], t, num_positions);
  }
  cpu::rope(turn, exec);
}

}  // namespace megalith
