#include "megalith/ops/norm.h"

#include <algorithm>
#include <initializer_list>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/norm.h"
#include "megalith/kernels/cuda/norm.h"
#include "megalith/kernels/cuda/peer_norm.h"
#include "megalith/ops/check.h"
#include "megalith/ops/peer_norm.h"

namespace megalith {
namespace {

// Rows at one distance from each other, or [T, N, H] whose N stand side by side.
struct Rows {
  int64_t heads = 1;
  int64_t stride_of(const Tensor& tensor) const {
    if (!tensor.defined()) return 0;
    return heads == 1 ? row_stride_or_zero(tensor) : tensor.stride(0);
  }
};

Rows rows_of(std::initializer_list<const Tensor*> tensors, const Tensor& x) {
  const auto folds = [](const Tensor* tensor) { return !tensor->defined() || tensor->is_rows(); };
  const auto has_heads = [](const Tensor* tensor) {
    return !tensor->defined() || (tensor->rank() == 3 && (tensor->dim(2) == 1 || tensor->stride(2) == 1) &&
                                  (tensor->dim(1) == 1 || tensor->stride(1) == tensor->dim(2)));
  };
  if (x.rank() == 3 && !std::all_of(tensors.begin(), tensors.end(), folds) &&
      std::all_of(tensors.begin(), tensors.end(), has_heads))
    return {x.dim(1)};
  return {};
}

void check_like(const char* op, const char* name, const Tensor& tensor, const Tensor& x, const Rows& rows,
                const Exec& exec) {
  check_tensor(op, name, tensor, x.dtype(), x.shape(), exec);
  if (rows.heads == 1) check_rows(op, name, tensor);
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
  const Rows rows = rows_of({&x, &args.residual, &args.sum, &args.y}, x);
  if (rows.heads == 1) check_rows(op, "x", x);
  if (args.residual.defined()) check_like(op, "residual", args.residual, x, rows, exec);
  if (args.residual.defined() || args.sum.defined()) check_like(op, "sum", args.sum, x, rows, exec);
  check_vector(op, "weight", args.weight, dtype, x.dim(-1), exec);
  MG_CHECK(is_layer_norm || !args.bias.defined(), "{}: RMSNorm takes no bias", op);
  if (args.bias.defined()) check_vector(op, "bias", args.bias, dtype, x.dim(-1), exec);
  check_like(op, "y", args.y, x, rows, exec);
  if (is_layer_norm) check_vector(op, "mean", args.mean, accumulate_dtype(dtype), x.rows(), exec);
  check_vector(op, "rstd", args.rstd, accumulate_dtype(dtype), x.rows(), exec);
  return {.dtype = dtype,
          .subtract_mean = is_layer_norm,
          .rows = x.rows(),
          .cols = x.dim(-1),
          .heads = rows.heads,
          .x = raw_or_null(args.x),
          .residual = raw_or_null(args.residual),
          .weight = args.weight.raw(),
          .bias = raw_or_null(args.bias),
          .eps = args.eps,
          .sum = raw_or_null(args.sum),
          .y = args.y.raw(),
          .mean = raw_or_null(args.mean),
          .rstd = args.rstd.raw(),
          .x_stride = rows.stride_of(args.x),
          .residual_stride = rows.stride_of(args.residual),
          .sum_stride = rows.stride_of(args.sum),
          .y_stride = rows.stride_of(args.y)};
}

}  // namespace

void norm(const NormArgs& args, Exec& exec) {
  check_float("norm", "x", args.x, exec);
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
  const Rows rows = rows_of({&x, &args.d_y, &args.d_sum, &args.d_x}, x);
  if (rows.heads == 1) check_rows(kOp, "x", x);
  const DType dtype = x.dtype();
  const DType sum_dtype = accumulate_dtype(dtype);
  const bool is_layer_norm = args.kind == NormKind::kLayerNorm;
  check_like(kOp, "d_y", args.d_y, x, rows, exec);
  if (args.d_sum.defined()) check_like(kOp, "d_sum", args.d_sum, x, rows, exec);
  check_vector(kOp, "weight", args.weight, dtype, x.dim(-1), exec);
  if (is_layer_norm) check_vector(kOp, "mean", args.mean, sum_dtype, x.rows(), exec);
  check_vector(kOp, "rstd", args.rstd, sum_dtype, x.rows(), exec);
  check_like(kOp, "d_x", args.d_x, x, rows, exec);
  if (args.d_weight.defined()) check_gradient_vector(kOp, "d_weight", args.d_weight, dtype, x.dim(-1), exec);
  MG_CHECK(is_layer_norm || !args.d_bias.defined(), "norm_backward: RMSNorm has no bias");
  if (args.d_bias.defined()) check_gradient_vector(kOp, "d_bias", args.d_bias, dtype, x.dim(-1), exec);
  const DType gradient_dtype = args.d_weight.defined() ? args.d_weight.dtype()
                               : args.d_bias.defined() ? args.d_bias.dtype()
                                                       : sum_dtype;
  MG_CHECK(!args.d_bias.defined() || args.d_bias.dtype() == gradient_dtype,
           "norm_backward: d_weight is {}, d_bias is {}", name_of(gradient_dtype),
           name_of(args.d_bias.dtype()));

  const cpu::NormBackwardArgs call{.dtype = dtype,
                                   .subtract_mean = is_layer_norm,
                                   .accumulate = args.accumulate,
                                   .rows = x.rows(),
                                   .cols = x.dim(-1),
                                   .heads = rows.heads,
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
                                   .d_y_stride = rows.stride_of(args.d_y),
                                   .d_sum_stride = rows.stride_of(args.d_sum),
                                   .x_stride = rows.stride_of(x),
                                   .d_x_stride = rows.stride_of(args.d_x)};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::norm_backward(call, exec);
  }
  cpu::norm_backward(call, exec);
}

}  // namespace megalith
