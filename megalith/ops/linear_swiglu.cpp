#include "megalith/ops/linear_swiglu.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/linear_swiglu.h"
#include "megalith/ops/activation.h"
#include "megalith/ops/check.h"
#include "megalith/ops/gemm.h"

namespace megalith {
namespace {

struct Operand {
  const char* name;
  const Tensor* tensor;
  Shape shape;
};

// All of the dtype of the first, whose shape is asked for by the others.
void check_operands(const char* op, std::initializer_list<Operand> operands, const Exec& exec) {
  const DType dtype = operands.begin()->tensor->dtype();
  for (const Operand& each : operands) {
    check_tensor(op, each.name, *each.tensor, dtype, each.shape, exec);
    check_rows(op, each.name, *each.tensor);
  }
}

// Rows and columns of a matrix that the other operands are held against.
void check_matrix(const char* op, const char* name, const Tensor& tensor, const Exec& exec) {
  check_float(op, name, tensor, exec);
  MG_CHECK(tensor.rank() == 2, "{}: {} of shape {} is not a matrix", op, name, tensor.shape().str());
}

}  // namespace

void linear_swiglu(const LinearSwigluArgs& args, Exec& exec) {
  constexpr const char* kOp = "linear_swiglu";
  check_matrix(kOp, "x", args.x, exec);
  check_matrix(kOp, "y", args.y, exec);
  const int64_t tokens = args.x.dim(0), hidden = args.x.dim(1), ffn = args.y.dim(1);
  check_operands(kOp,
                 {{"x", &args.x, args.x.shape()},
                  {"weight", &args.weight, {2 * ffn, hidden}},
                  {"pre", &args.pre, {tokens, 2 * ffn}},
                  {"y", &args.y, {tokens, ffn}}},
                 exec);
  if constexpr (kHasCuda) {
    const cuda::LinearSwigluArgs problem{.dtype = args.x.dtype(),
                                         .tokens = tokens,
                                         .hidden = hidden,
                                         .ffn = ffn,
                                         .x = args.x.raw(),
                                         .weight = args.weight.raw(),
                                         .pre = args.pre.raw(),
                                         .y = args.y.raw(),
                                         .x_stride = args.x.row_stride(),
                                         .weight_stride = args.weight.row_stride(),
                                         .pre_stride = args.pre.row_stride(),
                                         .y_stride = args.y.row_stride()};
    if (exec.device().is_cuda() && cuda::takes_linear_swiglu(problem, exec))
      return cuda::linear_swiglu(problem, exec);
  }
  gemm({.a = args.x, .b = args.weight, .c = args.pre, .transpose_b = Transpose::kYes}, exec);
  activation(ActivationKind::kSwiglu, args.pre, args.y, exec);
}

void swiglu_linear_backward_input(const SwigluLinearBackwardArgs& args, Exec& exec) {
  constexpr const char* kOp = "swiglu_linear_backward_input";
  check_matrix(kOp, "d_out", args.d_out, exec);
  check_matrix(kOp, "weight", args.weight, exec);
  const int64_t tokens = args.d_out.dim(0), hidden = args.d_out.dim(1), ffn = args.weight.dim(1);
  check_operands(kOp,
                 {{"d_out", &args.d_out, args.d_out.shape()},
                  {"weight", &args.weight, {hidden, ffn}},
                  {"pre", &args.pre, {tokens, 2 * ffn}},
                  {"d_pre", &args.d_pre, {tokens, 2 * ffn}}},
                 exec);
  if (args.y.defined())
    check_operands(kOp, {{"d_out", &args.d_out, args.d_out.shape()}, {"y", &args.y, {tokens, ffn}}}, exec);
  MG_CHECK(tokens == 0 || args.d_pre.raw() != args.pre.raw(), "{}: d_pre is pre itself", kOp);
  if constexpr (kHasCuda) {
    const cuda::SwigluLinearBackwardArgs problem{.dtype = args.d_out.dtype(),
                                                 .tokens = tokens,
                                                 .hidden = hidden,
                                                 .ffn = ffn,
                                                 .d_out = args.d_out.raw(),
                                                 .weight = args.weight.raw(),
                                                 .pre = args.pre.raw(),
                                                 .d_pre = args.d_pre.raw(),
                                                 .y = raw_or_null(args.y),
                                                 .d_out_stride = args.d_out.row_stride(),
                                                 .weight_stride = args.weight.row_stride(),
                                                 .pre_stride = args.pre.row_stride(),
                                                 .d_pre_stride = args.d_pre.row_stride(),
                                                 .y_stride = args.y.defined() ? args.y.row_stride() : 0};
    if (exec.device().is_cuda() && cuda::takes_swiglu_linear_backward_input(problem, exec))
      return cuda::swiglu_linear_backward_input(problem, exec);
  }
  if (args.y.defined()) activation(ActivationKind::kSwiglu, args.pre, args.y, exec);
  // Where the gradient of the linear half will be: no memory of its own.
  const Tensor d_y = args.d_pre.slice(1, ffn, 2 * ffn);
  gemm({.a = args.d_out, .b = args.weight, .c = d_y}, exec);
  activation_backward(ActivationKind::kSwiglu, args.pre, d_y, args.d_pre, exec);
}

}  // namespace megalith
