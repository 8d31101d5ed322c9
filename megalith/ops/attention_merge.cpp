#include "megalith/ops/attention_merge.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/attention_merge.h"
#include "megalith/kernels/cuda/attention_merge.h"
#include "megalith/ops/check.h"

namespace megalith {

void attention_merge(const AttentionMergeArgs& args, Exec& exec) {
  constexpr const char* kOp = "attention_merge";
  check_float(kOp, "part", args.part, exec);
  MG_CHECK(args.part.rank() == 4 && args.part.stride(3) == 1, "{}: part is {}, not [B, S, N, D]", kOp,
           args.part.shape().str());
  const Shape& shape = args.part.shape();
  const DType sum_dtype = accumulate_dtype(args.part.dtype());
  const Shape lse{shape[0], shape[2], shape[1]};
  check_tensor(kOp, "part_lse", args.part_lse, sum_dtype, lse, exec);
  check_contiguous(kOp, "part_lse", args.part_lse);
  check_tensor(kOp, "lse", args.lse, sum_dtype, lse, exec);
  check_contiguous(kOp, "lse", args.lse);
  check_tensor(kOp, "out", args.out, sum_dtype, shape, exec);
  check_contiguous(kOp, "out", args.out);
  const cpu::AttentionMergeProblem problem{.dtype = args.part.dtype(),
                                           .batch = shape[0],
                                           .seq = shape[1],
                                           .heads = shape[2],
                                           .dim = shape[3],
                                           .part = args.part.raw(),
                                           .part_batch_stride = args.part.stride(0),
                                           .part_seq_stride = args.part.stride(1),
                                           .part_head_stride = args.part.stride(2),
                                           .part_lse = args.part_lse.raw(),
                                           .out = args.out.raw(),
                                           .lse = args.lse.raw()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::attention_merge(problem, exec);
  }
  cpu::attention_merge(problem, exec);
}

}  // namespace megalith
