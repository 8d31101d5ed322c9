#include "megalith/ops/norm.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/norm.h"
#include "megalith/kernels/cuda/norm.h"
#include "megalith/kernels/cuda/peer_norm.h"
#include "megalith/ops/check.h"
#include "megalith/ops/peer_norm.h"

namespace megalith {
namespace {

void check_like(const char* op, const char* name, const Tensor& tensor, const Tensor& x, const Exec& exec) {
  check_tensor(op, name, tensor, x.dtype(), x.shape(), exec);
  check_rows(op, name, tensor);
}

void check_vector(const char* op, const char* name, const Tensor& tensor, DType dtype, int64_t count,
                  const Exec& exec) {
  check_tensor(op, name, tensor, dtype, Shape{count}, exec);
  check_contiguous(op, name, tensor);
}

void check_gradient_vector(const char* op, const char* name, const Tensor& gradient, DType dtype,
                           int64_t count, const Exec& exec) {
  check_gradient(op, name, gradient, dtype, Shape{count}, exec);
  check_contiguous(op, name, gradient);
}

cpu::NormArgs norm_rows(const char* op, const NormArgs& args, const Tensor& x, const Exec& exec) {
  const DType dtype = x.dtype();
  const bool is_layer_norm = args.kind == NormKind::kLayerNorm;
  if (args.residual.defined()) {
    check_like(op, "residual", args.residual, x, exec);
    check_like(op, "sum", args.sum, x, exec);
  }
  check_vector(op, "weight", args.weight, dtype, x.dim(-1), exec);
  MG_CHECK(is_layer_norm || !args.bias.defined(), "{}: RMSNorm takes no bias", op);
  if (args.bias.defined()) check_vector(op, "bias", args.bias, dtype, x.dim(-1), exec);
  check_like(op, "y", args.y, x, exec);
  if (is_layer_norm) check_vector(op, "mean", args.mean, accumulate_dtype(dtype), x.rows(), exec);
  check_vector(op, "rstd", args.rstd, accumulate_dtype(dtype), x.rows(), exec);
  return {.dtype = dtype,
          .subtract_mean = is_layer_norm,
          .rows = x.rows(),
          .cols = x.dim(-1),
          .x = raw_or_null(args.x),
          .residual = raw_or_null(args.residual),
          .weight = args.weight.raw(),
          .bias = raw_or_null(args.bias),
          .eps = args.eps,
          .sum = raw_or_null(args.sum),
          .y = args.y.raw(),
          .mean = raw_or_null(args.mean),
          .rstd = args.rstd.raw(),
          .x_stride = row_stride_or_zero(args.x),
          .residual_stride = row_stride_or_zero(args.residual),
          .sum_stride = row_stride_or_zero(args.sum),
          .y_stride = args.y.row_stride()};
}

}  // namespace

void norm(const NormArgs& args, Exec& exec) {
  check_float("norm", "x", args.x, exec);
  check_rows("norm", "x", args.x);
  const cpu::NormArgs rows = norm_rows("norm", args, args.x, exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::norm(rows, exec);
  }
  cpu::norm(rows, exec);
}

void peer_norm(const PeerNormArgs& args, Exec& exec) {
  constexpr const char* kOp = "peer_norm";
  MG_CHECK(exec.device().is_cuda(), "{}: the memory of peers is read by GPUs alone", kOp);
  const Tensor& residual = args.norm.residual;
  check_float(kOp, "residual", residual, exec);
  check_rows(kOp, "residual", residual);
  MG_CHECK(args.terms.size() == args.wholes.size() && args.terms.size() <= cuda::kMaxPeers,
           "{}: terms of {} ranks and wholes of {}; at most {} reach each other's memory", kOp,
           args.terms.size(), args.wholes.size(), cuda::kMaxPeers);
  if constexpr (kHasCuda) {
    cuda::PeerNormArgs call{.norm = norm_rows(kOp, args.norm, residual, exec),
                            .num_ranks = static_cast<int>(args.terms.size()),
                            .first_row = args.rank * residual.rows()};
    for (size_t rank = 0; rank < args.terms.size(); ++rank) {
      call.terms[rank] = args.terms[rank];
      call.wholes[rank] = const_cast<std::byte*>(args.wholes[rank]);
    }
    cuda::peer_norm(call, exec);
  }
}

void norm_backward(const NormBackwardArgs& args, Exec& exec) {
  constexpr const char* kOp = "norm_backward";
  const Tensor& x = args.x;
  check_float(kOp, "x", x, exec);
  check_rows(kOp, "x", x);
  const DType dtype = x.dtype();
  const DType sum_dtype = accumulate_dtype(dtype);
  const bool is_layer_norm = args.kind == NormKind::kLayerNorm;
  check_like(kOp, "d_y", args.d_y, x, exec);
  if (args.d_sum.defined()) check_like(kOp, "d_sum", args.d_sum, x, exec);
  check_vector(kOp, "weight", args.weight, dtype, x.dim(-1), exec);
  if (is_layer_norm) check_vector(kOp, "mean", args.mean, sum_dtype, x.rows(), exec);
  check_vector(kOp, "rstd", args.rstd, sum_dtype, x.rows(), exec);
  check_like(kOp, "d_x", args.d_x, x, exec);
  if (args.d_weight.defined()) check_gradient_vector(kOp, "d_weight", args.d_weight, dtype, x.dim(-1), exec);
  MG_CHECK(is_layer_norm || !args.d_bias.defined(), "norm_backward: RMSNorm has no bias");
  if (args.d_bias.defined()) check_gradient_vector(kOp, "d_bias", args.d_bias, dtype, x.dim(-1), exec);
  const DType gradient_dtype = args.d_weight.defined() ? args.d_weight.dtype()
                               : args.d_bias.defined() ? args.d_bias.dtype()
                                                       : sum_dtype;
  MG_CHECK(!args.d_bias.defined() || args.d_bias.dtype() == gradient_dtype,
           "norm_backward: d_weight is {}, d_bias is {}", name_of(gradient_dtype),
           name_of(args.d_bias.dtype()));

  const cpu::NormBackwardArgs rows{.dtype = dtype,
                                   .subtract_mean = is_layer_norm,
                                   .accumulate = args.accumulate,
                                   .rows = x.rows(),
                                   .cols = x.dim(-1),
                                   .d_y = args.d_y.raw(),
                                   .d_sum = raw_or_null(args.d_sum),
                                   .x = x.raw(),
                                   .weight = args.weight.raw(),
                                   .mean = raw_or_null(args.mean),
                                   .rstd = args.rstd.raw(),
                                   .d_x = args.d_x.raw(),
                                   .gradient_dtype = gradient_dtype,
                                   .d_weight = raw_or_null(args.d_weight),
                                   .d_bias = raw_or_null(args.d_bias),
                                   .d_y_stride = args.d_y.row_stride(),
                                   .d_sum_stride = row_stride_or_zero(args.d_sum),
                                   .x_stride = x.row_stride(),
                                   .d_x_stride = args.d_x.row_stride()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::norm_backward(rows, exec);
  }
  cpu::norm_backward(rows, exec);
}

}  // namespace megalith
