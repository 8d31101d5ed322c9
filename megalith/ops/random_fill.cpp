#include "megalith/ops/random_fill.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/random_fill.h"
#include "megalith/kernels/cuda/random.h"
#include "megalith/ops/check.h"

namespace megalith {

void fill_normal(const FillNormalArgs& args, Exec& exec) {
  check_float("fill_normal", "x", args.x, exec);
  check_contiguous("fill_normal", "x", args.x);
  MG_CHECK(args.first_element >= 0, "fill_normal: first_element {} is negative", args.first_element);
  const cpu::FillNormalArgs fill_args{.dtype = args.x.dtype(),
                                      .x = args.x.raw(),
                                      .count = args.x.numel(),
                                      .mean = args.mean,
                                      .std = args.std,
                                      .rng = args.rng,
                                      .first_element = args.first_element};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::fill_normal(fill_args, exec);
  }
  cpu::fill_normal(fill_args, exec);
}

}  // namespace megalith
