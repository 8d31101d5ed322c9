#include "megalith/ops/attention_sink.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/attention_sink.h"
#include "megalith/kernels/cuda/attention_sink.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

cpu::HeadRows head_rows(const Tensor& tensor) {
  return {tensor.raw(), tensor.stride(0), tensor.stride(1), tensor.stride(2)};
}

void check_heads(const char* op, const char* name, const Tensor& tensor) {
  MG_CHECK(tensor.rank() == 4 && (tensor.dim(3) <= 1 || tensor.stride(3) == 1),
           "{}: {} is {}, not [B, S, N, D] with contiguous heads", op, name, tensor.shape().str());
}

cpu::AttentionSinkProblem checked(const char* op, const AttentionSinkArgs& args, const Exec& exec) {
  check_float(op, "out", args.out, exec);
  check_heads(op, "out", args.out);
  const Shape& shape = args.out.shape();
  const DType dtype = args.out.dtype();
  check_tensor(op, "lse", args.lse, accumulate_dtype(dtype), {shape[0], shape[2], shape[1]}, exec);
  check_contiguous(op, "lse", args.lse);
  if (args.sink.defined()) {
    check_tensor(op, "sink", args.sink, dtype, {shape[2]}, exec);
    check_contiguous(op, "sink", args.sink);
  }
  return {.dtype = dtype,
          .batch = shape[0],
          .seq = shape[1],
          .heads = shape[2],
          .dim = shape[3],
          .sink = raw_or_null(args.sink),
          .out = head_rows(args.out),
          .lse = args.lse.raw()};
}

}  // namespace

void attention_sink(const AttentionSinkArgs& args, Exec& exec) {
  const cpu::AttentionSinkProblem problem = checked("attention_sink", args, exec);
  if (args.lse.numel() == 0) return;
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::attention_sink(problem, exec);
  }
  cpu::attention_sink(problem, exec);
}

void attention_sink_backward(const AttentionSinkBackwardArgs& args, Exec& exec) {
  constexpr const char* kOp = "attention_sink_backward";
  const cpu::AttentionSinkProblem problem = checked(kOp, args.forward, exec);
  check_tensor(kOp, "d_out", args.d_out, problem.dtype, args.forward.out.shape(), exec);
  check_heads(kOp, "d_out", args.d_out);
  check_gradient(kOp, "d_sink", args.d_sink, problem.dtype, {problem.heads}, exec);
  check_contiguous(kOp, "d_sink", args.d_sink);
  const cpu::AttentionSinkGradient gradient{.d_out = head_rows(args.d_out),
                                            .sink_dtype = args.d_sink.dtype(),
                                            .d_sink = args.d_sink.raw(),
                                            .accumulate = args.accumulate};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::attention_sink_backward(problem, gradient, exec);
  }
  cpu::attention_sink_backward(problem, gradient, exec);
}

}  // namespace megalith
