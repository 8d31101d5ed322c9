#include "megalith/ops/row_map.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/embedding.h"
#include "megalith/kernels/cpu/row_map.h"
#include "megalith/kernels/cuda/row_map.h"
#include "megalith/ops/check.h"

namespace megalith {
namespace {

void check_map(const char* op, const RowMap& map, const Tensor& many, const char* many_name,
               const Tensor& few, const char* few_name, Exec& exec) {
  MG_CHECK(map.from.defined() && map.from.rank() == 1 && map.to.defined() && map.to.rank() == 2,
           "{}: the map must be from [M] and to [N, K]", op);
  check_tensor(op, "from", map.from, DType::kI32, map.from.shape(), exec);
  check_tensor(op, "to", map.to, DType::kI32, map.to.shape(), exec);
  check_contiguous(op, "from", map.from);
  check_contiguous(op, "to", map.to);
  check_float(op, few_name, few, exec);
  MG_CHECK(few.rank() == 2 && few.dim(0) == map.num_from(), "{}: {} is {}, the map has {} rows", op, few_name,
           few.shape().str(), map.num_from());
  check_tensor(op, many_name, many, few.dtype(), {map.num_to(), few.dim(1)}, exec);
  check_rows(op, few_name, few);
  check_rows(op, many_name, many);
}

}  // namespace

void permute_rows(const Tensor& x, const RowMap& map, const Tensor& out, Exec& exec) {
  check_map("permute_rows", map, out, "out", x, "x", exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      return cuda::permute_rows({.dtype = x.dtype(),
                                 .rows = out.dim(0),
                                 .cols = x.dim(1),
                                 .from = map.from.data<int32_t>(),
                                 .x = x.raw(),
                                 .out = out.raw(),
                                 .x_stride = x.row_stride(),
                                 .out_stride = out.row_stride()},
                                exec);
    }
  }
  cpu::embedding({.dtype = x.dtype(),
                  .tokens = out.dim(0),
                  .cols = x.dim(1),
                  .ids = map.from.data<int32_t>(),
                  .table = x.raw(),
                  .first_id = 0,
                  .num_rows = x.dim(0),
                  .positions = nullptr,
                  .positions_table = nullptr,
                  .out = out.raw(),
                  .table_stride = x.row_stride(),
                  .positions_stride = 0,
                  .out_stride = out.row_stride()},
                 exec);
}

void combine_rows(const Tensor& x, const RowMap& map, const Tensor& out, Exec& exec) {
  check_map("combine_rows", map, x, "x", out, "out", exec);
  const cpu::CombineRowsArgs call{.dtype = x.dtype(),
                                  .rows = out.dim(0),
                                  .cols = out.dim(1),
                                  .terms = map.to.dim(1),
                                  .to = map.to.data<int32_t>(),
                                  .x = x.raw(),
                                  .out = out.raw(),
                                  .x_stride = x.row_stride(),
                                  .out_stride = out.row_stride()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::combine_rows(call, exec);
  }
  cpu::combine_rows(call, exec);
}

void row_dots(const Tensor& a, const Tensor& b, const Tensor& out, Exec& exec) {
  constexpr const char* kOp = "row_dots";
  check_float(kOp, "a", a, exec);
  check_tensor(kOp, "b", b, a.dtype(), a.shape(), exec);
  check_rows(kOp, "a", a);
  check_rows(kOp, "b", b);
  check_tensor(kOp, "out", out, accumulate_dtype(a.dtype()), {a.rows()}, exec);
  check_contiguous(kOp, "out", out);
  const cpu::RowDotsArgs call{.dtype = a.dtype(),
                              .rows = a.rows(),
                              .cols = a.dim(-1),
                              .a = a.raw(),
                              .b = b.raw(),
                              .out = out.raw(),
                              .a_stride = a.row_stride(),
                              .b_stride = b.row_stride()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::row_dots(call, exec);
  }
  cpu::row_dots(call, exec);
}

}  // namespace megalith
