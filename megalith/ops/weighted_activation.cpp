#include "megalith/ops/weighted_activation.h"

#include <algorithm>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/activation.h"
#include "megalith/kernels/cuda/weighted_activation.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"
#include "megalith/ops/row_map.h"

namespace megalith {
namespace {

const int32_t* number_or_null(const Tensor& num_rows) {
  return num_rows.defined() ? num_rows.data<int32_t>() : nullptr;
}

// Those that are there, on the CPU.
struct Rows {
  int64_t count;
  Rows(const Tensor& num_rows, int64_t all)
      : count(num_rows.defined() ? std::min<int64_t>(*num_rows.data<int32_t>(), all) : all) {}
  Tensor of(const Tensor& x) const { return x.slice(0, 0, count); }
};

void check(const char* op, ActivationKind kind, const Tensor& x, const Tensor& weights, const Tensor& y,
           const Tensor& num_rows, const Exec& exec) {
  if (num_rows.defined()) check_tensor(op, "num_rows", num_rows, DType::kI32, {1}, exec);
  check_float(op, "x", x, exec);
  MG_CHECK(x.rank() == 2 && (!is_gated(kind) || x.dim(1) % 2 == 0), "{}: x is {}", op, x.shape().str());
  check_tensor(op, "weights", weights, accumulate_dtype(x.dtype()), {x.dim(0), 1}, exec);
  check_tensor(op, "y", y, x.dtype(), {x.dim(0), is_gated(kind) ? x.dim(1) / 2 : x.dim(1)}, exec);
  for (const Tensor* tensor : {&x, &weights, &y}) check_contiguous(op, "a tensor", *tensor);
}

}  // namespace

void weighted_activation(const WeightedActivationArgs& args, Exec& exec) {
  check("weighted_activation", args.kind, args.x, args.weights, args.y, args.num_rows, exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      return cuda::weighted_activation({.dtype = args.x.dtype(),
                                        .function = activation_function(args.kind),
                                        .is_gated = is_gated(args.kind),
                                        .rows = args.y.dim(0),
                                        .cols = args.y.dim(1),
                                        .num_rows = number_or_null(args.num_rows),
                                        .x = args.x.raw(),
                                        .weights = args.weights.raw(),
                                        .y = args.y.raw()},
                                       exec);
    }
  }
  const Rows rows(args.num_rows, args.y.dim(0));
  const Tensor y = rows.of(args.y);
  activation(args.kind, rows.of(args.x), y, exec);
  scale_rows(y, rows.of(args.weights).view({-1}), y, exec);
}

void weighted_activation_backward(const WeightedActivationBackwardArgs& args, Exec& exec) {
  constexpr const char* kOp = "weighted_activation_backward";
  check(kOp, args.kind, args.x, args.weights, args.d_y, args.num_rows, exec);
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
                                                 .num_rows = number_or_null(args.num_rows),
                                                 .x = args.x.raw(),
                                                 .weights = args.weights.raw(),
                                                 .d_y = args.d_y.raw(),
                                                 .d_x = args.d_x.raw(),
                                                 .d_weights = raw_or_null(args.d_weights)},
                                                exec);
    }
  }
  const Rows rows(args.num_rows, args.d_y.dim(0));
  const Tensor x = rows.of(args.x), d_y = rows.of(args.d_y);
  const Tensor between = exec.empty(d_y.shape(), d_y.dtype());
  if (args.d_weights.defined()) {
    activation(args.kind, x, between, exec);
    row_dots(d_y, between, rows.of(args.d_weights).view({-1}), exec);
  }
  scale_rows(d_y, rows.of(args.weights).view({-1}), between, exec);
  activation_backward(args.kind, x, between, rows.of(args.d_x), exec);
}

}  // namespace megalith
