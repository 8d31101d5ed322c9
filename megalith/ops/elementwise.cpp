#include "megalith/ops/elementwise.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/copy.h"
#include "megalith/kernels/cpu/elementwise.h"
#include "megalith/kernels/cpu/sum_rows.h"
#include "megalith/kernels/cuda/elementwise.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

bool is_floating(DType dtype) {
  return dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16;
}

void set_walk(const Tensor& from, const Tensor& to, cpu::CopyArgs& args) {
  static_assert(cpu::kMaxCopyRank == Shape::kMaxRank);
  args.from = from.raw();
  args.to = to.raw();
  args.from_dtype = from.dtype();
  args.to_dtype = to.dtype();
  args.rank = to.rank();
  for (int i = 0; i < to.rank(); ++i) {
    args.dims[i] = to.dim(i);
    args.to_strides[i] = to.stride(i);
  }
}

}  // namespace

void add(const Tensor& a, const Tensor& b, const Tensor& out, Exec& exec) {
  check_float("add", "a", a, exec);
  check_tensor("add", "b", b, a.dtype(), a.shape(), exec);
  check_tensor("add", "out", out, a.dtype(), a.shape(), exec);
  const bool flat = are_flat({&a, &b, &out});
  if (!flat) {
    check_rows("add", "a", a);
    check_rows("add", "b", b);
    check_rows("add", "out", out);
  }
  const cpu::AddArgs args{.dtype = a.dtype(),
                          .a = a.raw(),
                          .b = b.raw(),
                          .out = out.raw(),
                          .rows = flat ? 1 : a.rows(),
                          .cols = flat ? a.numel() : a.dim(-1),
                          .a_stride = row_stride_or_zero(a),
                          .b_stride = row_stride_or_zero(b),
                          .out_stride = row_stride_or_zero(out)};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::add(args, exec);
  }
  cpu::add(args, exec);
}

void sum_terms(const Tensor& terms, const Tensor& out, Exec& exec) {
  check_float("sum_terms", "terms", terms, exec);
  check_contiguous("sum_terms", "terms", terms);
  check_tensor("sum_terms", "out", out, terms.dtype(), out.shape(), exec);
  check_contiguous("sum_terms", "out", out);
  MG_CHECK(terms.rank() > 0 && terms.dim(0) > 0 && terms.numel() == terms.dim(0) * out.numel(),
           "sum_terms: terms {} of {}", terms.shape().str(), out.shape().str());
  const cpu::SumTermsArgs args{.dtype = terms.dtype(),
                               .terms = terms.raw(),
                               .out = out.raw(),
                               .num_terms = terms.dim(0),
                               .count = out.numel()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::sum_terms(args, exec);
  }
  cpu::sum_terms(args, exec);
}

void scale_in_place(const Tensor& x, double factor, Exec& exec) {
  check_float("scale_in_place", "x", x, exec);
  const bool flat = x.is_contiguous();
  if (!flat) check_rows("scale_in_place", "x", x);
  const cpu::ScaleArgs args{.dtype = x.dtype(),
                            .x = x.raw(),
                            .out = x.raw(),
                            .factor = factor,
                            .rows = flat ? 1 : x.rows(),
                            .cols = flat ? x.numel() : x.dim(-1),
                            .x_stride = row_stride_or_zero(x),
                            .out_stride = row_stride_or_zero(x)};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::scale(args, exec);
  }
  cpu::scale(args, exec);
}

void scale_rows(const Tensor& x, const Tensor& factors, const Tensor& out, Exec& exec) {
  check_float("scale_rows", "x", x, exec);
  check_rows("scale_rows", "x", x);
  check_tensor("scale_rows", "out", out, x.dtype(), x.shape(), exec);
  check_rows("scale_rows", "out", out);
  check_tensor("scale_rows", "factors", factors, accumulate_dtype(x.dtype()), Shape{x.rows()}, exec);
  check_contiguous("scale_rows", "factors", factors);
  const cpu::ScaleArgs args{.dtype = x.dtype(),
                            .x = x.raw(),
                            .out = out.raw(),
                            .factors = factors.raw(),
                            .rows = x.rows(),
                            .cols = x.dim(-1),
                            .x_stride = x.row_stride(),
                            .out_stride = out.row_stride()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::scale(args, exec);
  }
  cpu::scale(args, exec);
}

void copy(const Tensor& from, const Tensor& to, Exec& exec) {
  MG_CHECK(from.defined() && to.defined(), "copy: a tensor is not given");
  check_tensor("copy", "from", from, from.dtype(), to.shape(), exec);
  check_tensor("copy", "to", to, to.dtype(), from.shape(), exec);
  MG_CHECK(from.dtype() == to.dtype() || (is_floating(from.dtype()) && is_floating(to.dtype())),
           "copy: from {} to {}; allowed: between f64, f32, bf16 and f16, or the same dtype",
           name_of(from.dtype()), name_of(to.dtype()));
  cpu::CopyArgs args;
  set_walk(from, to, args);
  for (int i = 0; i < from.rank(); ++i) args.from_strides[i] = from.stride(i);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::copy(args, exec);
  }
  cpu::copy(args, exec);
}

void fill(const Tensor& x, double value, Exec& exec) {
  MG_CHECK(x.defined(), "fill: x is not given");
  check_tensor("fill", "x", x, x.dtype(), x.shape(), exec);
  dispatch_dtype<double, float, bf16, f16, int64_t, int32_t, uint8_t>(x.dtype(), "fill", [&]<class T>() {
    T element;
    if constexpr (std::is_arithmetic_v<T>) {
      element = static_cast<T>(value);
    } else {
      element = T(static_cast<float>(value));
    }
    cpu::CopyArgs args;
    set_walk(x, x, args);
    args.from = &element;
    if constexpr (kHasCuda) {
      if (exec.device().is_cuda()) return cuda::fill(args, exec);
    }
    cpu::fill(args, exec);
  });
}

void sum_rows(const SumRowsArgs& args, Exec& exec) {
  check_float("sum_rows", "x", args.x, exec);
  check_rows("sum_rows", "x", args.x);
  check_gradient("sum_rows", "out", args.out, args.x.dtype(), Shape{args.x.dim(-1)}, exec);
  check_contiguous("sum_rows", "out", args.out);
  const cpu::SumRowsArgs sum{.dtype = args.x.dtype(),
                             .x = args.x.raw(),
                             .out_dtype = args.out.dtype(),
                             .out = args.out.raw(),
                             .rows = args.x.rows(),
                             .cols = args.x.dim(-1),
                             .x_stride = args.x.row_stride(),
                             .accumulate = args.accumulate};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::sum_rows(sum, exec);
  }
  cpu::sum_rows(sum, exec);
}

}  // namespace megalith
