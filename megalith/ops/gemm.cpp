#include "megalith/ops/gemm.h"

#include <algorithm>

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/gemm.h"
#include "megalith/kernels/cuda/gemm.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

struct Matrix {
  int64_t rows, columns, row_stride;
};

Matrix matrix_of(const Tensor& tensor, const char* name) {
  MG_CHECK(tensor.defined(), "gemm: {} is undefined", name);
  MG_CHECK(tensor.rank() >= 1 && tensor.is_rows(),
           "gemm: {} of shape {} is not a matrix of constant row stride", name, tensor.shape().str());
  Matrix matrix{1, tensor.dim(-1), std::max<int64_t>(tensor.row_stride(), 1)};
  for (int i = 0; i + 1 < tensor.rank(); ++i) matrix.rows *= tensor.dim(i);
  return matrix;
}

void check_addend(const GemmArgs& args, const Exec& exec) {
  const Tensor &addend = args.addend, &c = args.c;
  check_tensor("gemm", "addend", addend, c.dtype(), c.shape(), exec);
  MG_CHECK(c.numel() == 0 || (addend.is_rows() && addend.row_stride() == c.row_stride()),
           "gemm: rows of the addend are {} apart, those of c {}", addend.row_stride(), c.row_stride());
  MG_CHECK(c.numel() == 0 || addend.raw() != c.raw(), "gemm: the addend is c itself; allowed: beta 1");
  MG_CHECK(args.beta == 0 && !args.bias.defined(), "gemm: an addend needs beta 0, not {}, and no bias",
           args.beta);
}

}  // namespace

void gemm(const GemmArgs& args, Exec& exec) {
  const Matrix a = matrix_of(args.a, "a");
  const Matrix b = matrix_of(args.b, "b");
  const Matrix c = matrix_of(args.c, "c");
  const bool transpose_a = args.transpose_a == Transpose::kYes;
  const bool transpose_b = args.transpose_b == Transpose::kYes;
  const int64_t k = transpose_a ? a.rows : a.columns;
  MG_CHECK((transpose_a ? a.columns : a.rows) == c.rows && (transpose_b ? b.rows : b.columns) == c.columns &&
               (transpose_b ? b.columns : b.rows) == k,
           "gemm: op(a) op(b) of a {}{} and b {}{} does not give c {}", args.a.shape().str(),
           transpose_a ? " transposed" : "", args.b.shape().str(), transpose_b ? " transposed" : "",
           args.c.shape().str());
  const DType dtype = args.a.dtype();
  MG_CHECK(dtype == DType::kF64 || dtype == DType::kF32 || dtype == DType::kBF16 || dtype == DType::kF16,
           "gemm: dtype {} is not supported; allowed: f64, f32, bf16, f16", name_of(dtype));
  MG_CHECK(args.b.dtype() == dtype, "gemm: a is {}, b is {}", name_of(dtype), name_of(args.b.dtype()));
  MG_CHECK(args.c.dtype() == dtype || (size_of(dtype) == 2 && args.c.dtype() == DType::kF32),
           "gemm: inputs are {}, c is {}; allowed: the same, or f32 for bf16 and f16", name_of(dtype),
           name_of(args.c.dtype()));
  const void* bias = nullptr;
  if (args.bias.defined()) {
    MG_CHECK(args.bias.rank() == 1 && args.bias.dim(0) == c.columns && args.bias.is_contiguous() &&
                 args.bias.dtype() == args.c.dtype(),
             "gemm: bias is {} {}, c is {} {}", name_of(args.bias.dtype()), args.bias.shape().str(),
             name_of(args.c.dtype()), args.c.shape().str());
    MG_CHECK(args.beta == 0, "gemm: a bias needs beta 0, not {}", args.beta);
    bias = args.bias.raw();
  }
  for (const Tensor* tensor : {&args.a, &args.b, &args.c})
    MG_CHECK(tensor->device() == exec.device(), "gemm: a tensor of {} on {}", tensor->device().name(),
             exec.device().name());
  if (args.addend.defined()) check_addend(args, exec);
  cpu::GemmProblem problem{c.rows,
                           c.columns,
                           k,
                           {args.a.raw(), a.row_stride, transpose_a},
                           {args.b.raw(), b.row_stride, transpose_b},
                           dtype,
                           args.c.dtype(),
                           args.c.raw(),
                           c.row_stride,
                           bias,
                           args.alpha,
                           args.beta};
  if (args.addend.defined()) {
    problem.beta = 1;
    if (exec.device().is_cuda() && k > 0) {
      problem.addend = args.addend.raw();
    } else {
      copy(args.addend, args.c, exec);
    }
  }
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::gemm(problem, exec);
  }
  cpu::gemm(problem, exec);
}

void allow_tf32(Exec& exec) {
  if (!exec.device().is_cuda()) throw UsageError("allow_tf32 needs a GPU; device is cpu");
  if constexpr (kHasCuda) cuda::allow_tf32(exec);
}

}  // namespace megalith
