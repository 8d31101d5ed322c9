#include "megalith/ops/weighted_activation.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/activation.h"
#include "megalith/kernels/cuda/weighted_activation.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/row_map.h"

namespace megalith {
namespace {

void check(const char* op, ActivationKind kind, const Tensor& x, const Tensor& weights, const Tensor& y,
           const Exec& exec) {
  check_float(op, "x", x, exec);
  MG_CHECK(x.rank() == 2 && (!is_gated(kind) || x.dim(1) % 2 == 0), "{}: x is {}", op, x.shape().str());
  check_tensor(op, "weights", weights, accumulate_dtype(x.dtype()), {x.dim(0), 1}, exec);
  check_tensor(op, "y", y, x.dtype(), {x.dim(0), is_gated(kind) ? x.dim(1) / 2 : x.dim(1)}, exec);
  for (const Tensor* tensor : {&x, &weights, &y}) check_contiguous(op, "a tensor", *tensor);
}

}  // namespace

void weighted_activation(const WeightedActivationArgs& args, Exec& exec) {
  check("weighted_activation", args.kind, args.x, args.weights, args.y, exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      return cuda::weighted_activation({.dtype = args.x.dtype(),
                                        .function = activation_function(args.kind),
                                        .is_gated = is_gated(args.kind),
                                        .rows = args.y.dim(0),
                                        .cols = args.y.dim(1),
                                        .x = args.x.raw(),
                                        .weights = args.weights.raw(),
                                        .y = args.y.raw()},
                                       exec);
    }
  }
  activation(args.kind, args.x, args.y, exec);
  scale_rows(args.y, args.weights.view({-1}), args.y, exec);
}

void weighted_activation_backward(const WeightedActivationBackwardArgs& args, Exec& exec) {
  constexpr const char* kOp = "weighted_activation_backward";
  check(kOp, args.kind, args.x, args.weights, args.d_y, exec);
  check_tensor(kOp, "d_x", args.d_x, args.x.dtype(), args.x.shape(), exec);
  check_contiguous(kOp, "d_x", args.d_x);
  if (args.d_weights.defined())
    check_tensor(kOp, "d_weights", args.d_weights, args.weights.dtype(), args.weights.shape(), exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      return cuda::weighted_activation_backward({.dtype = args.x.dtype(),
                                                 .function = activation_function(args.kind),
                                                 .is_gated = is_gated(args.kind),
                                                 .rows = args.d_y.dim(0),
                                                 .cols = args.d_y.dim(1),
                                                 .x = args.x.raw(),
                                                 .weights = args.weights.raw(),
                                                 .d_y = args.d_y.raw(),
                                                 .d_x = args.d_x.raw(),
                                                 .d_weights = raw_or_null(args.d_weights)},
                                                exec);
    }
  }
  const Tensor between = exec.empty(args.d_y.shape(), args.d_y.dtype());
  if (args.d_weights.defined()) {
    activation(args.kind, args.x, between, exec);
    row_dots(args.d_y, between, args.d_weights.view({-1}), exec);
  }
  scale_rows(args.d_y, args.weights.view({-1}), between, exec);
  activation_backward(args.kind, args.x, between, args.d_x, exec);
}

}  // namespace megalith
