#include "megalith/ops/activation.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/activation.h"
#include "megalith/kernels/cuda/activation.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

// x [..., F or 2F] and y [..., F] of one dtype and as many rows.
void check_pair(const char* op, const char* y_name, ActivationKind kind, const Tensor& x, const Tensor& y,
                const Exec& exec) {
  check_float(op, "x", x, exec);
  check_rows(op, "x", x);
  const int64_t width = x.dim(-1);
  MG_CHECK(!is_gated(kind) || width % 2 == 0, "{}: a gated kind takes rows of even width, not {}", op, width);
  Shape shape = x.shape();
  shape.set(-1, is_gated(kind) ? width / 2 : width);
  check_tensor(op, y_name, y, x.dtype(), shape, exec);
  check_rows(op, y_name, y);
}

}  // namespace

cpu::Activation activation_function(ActivationKind kind) {
  switch (kind) {
    case ActivationKind::kGelu:
    case ActivationKind::kGeglu:
      return cpu::Activation::kGelu;
    case ActivationKind::kGeluErf:
      return cpu::Activation::kGeluErf;
    case ActivationKind::kRelu:
      return cpu::Activation::kRelu;
    case ActivationKind::kSquaredRelu:
      return cpu::Activation::kSquaredRelu;
    case ActivationKind::kSilu:
    case ActivationKind::kSwiglu:
      return cpu::Activation::kSilu;
  }
  MG_ASSERT(false);
}

bool is_gated(ActivationKind kind) {
  return kind == ActivationKind::kSwiglu || kind == ActivationKind::kGeglu;
}

void activation(ActivationKind kind, const Tensor& x, const Tensor& y, Exec& exec) {
  check_pair("activation", "y", kind, x, y, exec);
  const bool flat = !is_gated(kind) && are_flat({&x, &y});
  const cpu::ActivationArgs args{.dtype = x.dtype(),
                                 .function = activation_function(kind),
                                 .is_gated = is_gated(kind),
                                 .rows = flat ? 1 : y.rows(),
                                 .cols = flat ? y.numel() : y.dim(-1),
                                 .x = x.raw(),
                                 .y = y.raw(),
                                 .x_stride = x.row_stride(),
                                 .y_stride = y.row_stride()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::activation(args, exec);
  }
  cpu::activation(args, exec);
}

void activation_backward(ActivationKind kind, const Tensor& x, const Tensor& d_y, const Tensor& d_x,
                         Exec& exec) {
  check_pair("activation_backward", "d_y", kind, x, d_y, exec);
  check_tensor("activation_backward", "d_x", d_x, x.dtype(), x.shape(), exec);
  check_rows("activation_backward", "d_x", d_x);
  const bool flat = !is_gated(kind) && are_flat({&x, &d_y, &d_x});
  const cpu::ActivationBackwardArgs args{.dtype = x.dtype(),
                                         .function = activation_function(kind),
                                         .is_gated = is_gated(kind),
                                         .rows = flat ? 1 : d_y.rows(),
                                         .cols = flat ? d_y.numel() : d_y.dim(-1),
                                         .x = x.raw(),
                                         .d_y = d_y.raw(),
                                         .d_x = d_x.raw(),
                                         .x_stride = x.row_stride(),
                                         .d_y_stride = d_y.row_stride(),
                                         .d_x_stride = d_x.row_stride()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::activation_backward(args, exec);
  }
  cpu::activation_backward(args, exec);
}

}  // namespace megalith
