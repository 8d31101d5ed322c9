#include "megalith/ops/grouped_gemm.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/expert_gemm.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

// The ends of the groups, which must ascend from 0 and not beyond `rows`.
std::vector<int64_t> group_ends(const char* op, const Tensor& offsets, int64_t rows) {
  std::vector<int64_t> ends = to_vector<int64_t>(offsets);
  MG_CHECK(!ends.empty() && ends.front() == 0 && ends.back() <= rows,
           "{}: the groups do not lie in the {} rows", op, rows);
  for (size_t e = 0; e + 1 < ends.size(); ++e)
    MG_CHECK(ends[e] <= ends[e + 1], "{}: group {} ends at row {} and begins at {}", op, e, ends[e + 1],
             ends[e]);
  return ends;
}

void check_groups(const char* op, const Tensor& offsets, const std::vector<Tensor>& matrices,
                  const char* matrices_name, const Exec& exec) {
  MG_CHECK(offsets.defined() && offsets.rank() == 1, "{}: offsets must be [E + 1]", op);
  check_tensor(op, "offsets", offsets, DType::kI32, offsets.shape(), exec);
  check_contiguous(op, "offsets", offsets);
  MG_CHECK(!matrices.empty() && static_cast<int64_t>(matrices.size()) + 1 == offsets.dim(0),
           "{}: {} {} for {} groups", op, matrices.size(), matrices_name, offsets.dim(0) - 1);
}

// All of one shape, dtype and row stride, so that a kernel gets them as a list of places.
void check_alike(const char* op, const std::vector<Tensor>& matrices, const char* name, const Exec& exec) {
  for (const Tensor& matrix : matrices) {
    check_tensor(op, name, matrix, matrices[0].dtype(), matrices[0].shape(), exec);
    check_rows(op, name, matrix);
    MG_CHECK(matrix.rank() == 2 && matrix.row_stride() == matrices[0].row_stride(),
             "{}: {} are not matrices of one row stride", op, name);
  }
}

void check_matrix(const char* op, const char* name, const Tensor& x, DType dtype, int64_t rows, int64_t cols,
                  const Exec& exec) {
  check_tensor(op, name, x, dtype, {rows, cols}, exec);
  check_rows(op, name, x);
}

bool has_kernel(DType in, DType out) {
  return (out == in && in != DType::kF16) || (in == DType::kBF16 && out == DType::kF32);
}

void multiply_on_gpu(const GroupedGemmArgs& args, Exec& exec) {
  constexpr const char* kOp = "grouped_gemm";
  check_float(kOp, "x", args.x, exec);
  check_alike(kOp, args.weights, "weights", exec);
  const bool transposes = args.transpose_w == Transpose::kYes;
  const Tensor& w = args.weights[0];
  const int64_t n = w.dim(transposes ? 0 : 1), k = w.dim(transposes ? 1 : 0);
  const DType dtype = args.x.dtype();
  check_matrix(kOp, "x", args.x, dtype, args.x.dim(0), k, exec);
  check_matrix(kOp, "y", args.y, args.y.dtype(), args.x.dim(0), n, exec);
  MG_CHECK(w.dtype() == dtype && has_kernel(dtype, args.y.dtype()), "{}: x is {}, weights are {}, y is {}",
           kOp, name_of(dtype), name_of(w.dtype()), name_of(args.y.dtype()));
  std::vector<const void*> weights;
  for (const Tensor& weight : args.weights) weights.push_back(weight.raw());
  cuda::expert_gemm({.dtype = dtype,
                     .out_dtype = args.y.dtype(),
                     .rows = args.x.dim(0),
                     .n = n,
                     .k = k,
                     .offsets = args.offsets.data<int32_t>(),
                     .x = args.x.raw(),
                     .x_stride = args.x.row_stride(),
                     .weights = weights,
                     .w_stride = w.row_stride(),
                     .transpose_w = transposes,
                     .y = args.y.raw(),
                     .y_stride = args.y.row_stride()},
                    exec);
}

void differentiate_on_gpu(const GroupedWeightGradientArgs& args, Exec& exec) {
  constexpr const char* kOp = "grouped_weight_gradient";
  check_float(kOp, "x", args.x, exec);
  check_alike(kOp, args.d_weights, "d_weights", exec);
  const Tensor& d_w = args.d_weights[0];
  const DType dtype = args.x.dtype();
  check_matrix(kOp, "d_y", args.d_y, dtype, args.x.dim(0), d_w.dim(0), exec);
  check_matrix(kOp, "x", args.x, dtype, args.x.dim(0), d_w.dim(1), exec);
  MG_CHECK(has_kernel(dtype, d_w.dtype()), "{}: x is {}, d_weights are {}", kOp, name_of(dtype),
           name_of(d_w.dtype()));
  std::vector<void*> d_weights;
  for (const Tensor& d_weight : args.d_weights) d_weights.push_back(d_weight.raw());
  cuda::expert_weight_gradient({.dtype = dtype,
                                .out_dtype = d_w.dtype(),
                                .n = d_w.dim(0),
                                .k = d_w.dim(1),
                                .offsets = args.offsets.data<int32_t>(),
                                .d_y = args.d_y.raw(),
                                .d_y_stride = args.d_y.row_stride(),
                                .x = args.x.raw(),
                                .x_stride = args.x.row_stride(),
                                .d_weights = d_weights,
                                .betas = args.betas,
                                .d_w_stride = d_w.row_stride()},
                               exec);
}

}  // namespace

void grouped_gemm(const GroupedGemmArgs& args, Exec& exec) {
  constexpr const char* kOp = "grouped_gemm";
  check_groups(kOp, args.offsets, args.weights, "weights", exec);
  MG_CHECK(args.y.defined() && args.y.dim(0) == args.x.dim(0), "grouped_gemm: x has {} rows, y {}",
           args.x.dim(0), args.y.dim(0));
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return multiply_on_gpu(args, exec);
  }
  const std::vector<int64_t> ends = group_ends(kOp, args.offsets, args.x.dim(0));
  for (size_t e = 0; e < args.weights.size(); ++e) {
    if (ends[e] == ends[e + 1]) continue;
    gemm({.a = args.x.slice(0, ends[e], ends[e + 1]),
          .b = args.weights[e],
          .c = args.y.slice(0, ends[e], ends[e + 1]),
          .transpose_b = args.transpose_w},
         exec);
  }
}

void grouped_weight_gradient(const GroupedWeightGradientArgs& args, Exec& exec) {
  constexpr const char* kOp = "grouped_weight_gradient";
  check_groups(kOp, args.offsets, args.d_weights, "d_weights", exec);
  MG_CHECK(args.betas.size() == args.d_weights.size(), "{}: {} betas for {} groups", kOp, args.betas.size(),
           args.d_weights.size());
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return differentiate_on_gpu(args, exec);
  }
  const std::vector<int64_t> ends = group_ends(kOp, args.offsets, args.x.dim(0));
  for (size_t e = 0; e < args.d_weights.size(); ++e) {
    if (ends[e] == ends[e + 1]) {
      if (args.betas[e] == 0) fill(args.d_weights[e], 0, exec);
      continue;
    }
    gemm({.a = args.d_y.slice(0, ends[e], ends[e + 1]),
          .b = args.x.slice(0, ends[e], ends[e + 1]),
          .c = args.d_weights[e],
          .transpose_a = Transpose::kYes,
          .beta = args.betas[e]},
         exec);
  }
}

}  // namespace megalith
