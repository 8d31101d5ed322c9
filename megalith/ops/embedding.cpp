#include "megalith/ops/embedding.h"

#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cpu/embedding.h"
#include "megalith/kernels/cuda/embedding.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

// i32 [tokens], each in [0, limit); those on a GPU are for the kernel to check.
const int32_t* checked_ids(const char* op, const char* name, const Tensor& ids, int64_t tokens, int64_t limit,
                           const Exec& exec) {
  check_tensor(op, name, ids, DType::kI32, Shape{tokens}, exec);
  check_contiguous(op, name, ids);
  const int32_t* values = ids.data<int32_t>();
  if (ids.device().is_cuda()) return values;
  for (int64_t t = 0; t < tokens; ++t) {
    MG_CHECK(values[t] >= 0 && values[t] < limit, "{}: {}[{}] = {} is outside the table of {} rows", op, name,
             t, values[t], limit);
  }
  return values;
}

int64_t rows_of_table(const char* op, const char* name, const Tensor& table, int64_t cols) {
  MG_CHECK(table.defined() && table.rank() == 2 && table.dim(1) == cols, "{}: {} is not [rows, {}]", op, name,
           cols);
  return table.dim(0);
}

}  // namespace

void embedding(const EmbeddingArgs& args, Exec& exec) {
  constexpr const char* kOp = "embedding";
  const Tensor& out = args.out;
  check_float(kOp, "out", out, exec);
  check_rows(kOp, "out", out);
  const int64_t tokens = out.rows();
  const int64_t cols = out.dim(-1);
  const int64_t vocabulary = rows_of_table(kOp, "table", args.table, cols);
  check_tensor(kOp, "table", args.table, out.dtype(), Shape{vocabulary, cols}, exec);
  check_rows(kOp, "table", args.table);
  const int64_t num_ids = args.num_ids > 0 ? args.num_ids : vocabulary;
  const int32_t* positions = nullptr;
  int64_t num_positions = 0;
  if (args.positions.defined()) {
    num_positions = rows_of_table(kOp, "positions_table", args.positions_table, cols);
    check_tensor(kOp, "positions_table", args.positions_table, out.dtype(), Shape{num_positions, cols}, exec);
    check_rows(kOp, "positions_table", args.positions_table);
    positions = checked_ids(kOp, "positions", args.positions, tokens, num_positions, exec);
  }
  const cpu::EmbeddingArgs gather{.dtype = out.dtype(),
                                  .tokens = tokens,
                                  .cols = cols,
                                  .ids = checked_ids(kOp, "ids", args.ids, tokens, num_ids, exec),
                                  .table = args.table.raw(),
                                  .first_id = args.first_id,
                                  .num_rows = vocabulary,
                                  .positions = positions,
                                  .positions_table = raw_or_null(args.positions_table),
                                  .out = out.raw(),
                                  .table_stride = args.table.row_stride(),
                                  .positions_stride = row_stride_or_zero(args.positions_table),
                                  .out_stride = out.row_stride()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda())
      return cuda::embedding(gather, {.num_ids = num_ids, .position_rows = num_positions}, exec);
  }
  cpu::embedding(gather, exec);
}

void embedding_backward(const EmbeddingBackwardArgs& args, Exec& exec) {
  constexpr const char* kOp = "embedding_backward";
  const Tensor& d_out = args.d_out;
  check_float(kOp, "d_out", d_out, exec);
  check_rows(kOp, "d_out", d_out);
  const int64_t tokens = d_out.rows();
  const int64_t cols = d_out.dim(-1);
  const int64_t vocabulary = rows_of_table(kOp, "d_table", args.d_table, cols);
  check_gradient(kOp, "d_table", args.d_table, d_out.dtype(), Shape{vocabulary, cols}, exec);
  check_rows(kOp, "d_table", args.d_table);
  const int64_t num_ids = args.num_ids > 0 ? args.num_ids : vocabulary;
  const int32_t* ids = checked_ids(kOp, "ids", args.ids, tokens, num_ids, exec);
  if (!args.accumulate) fill(args.d_table, 0, exec);
  const cpu::EmbeddingBackwardArgs scatter{.dtype = d_out.dtype(),
                                           .tokens = tokens,
                                           .cols = cols,
                                           .ids = ids,
                                           .d_out = d_out.raw(),
                                           .table_dtype = args.d_table.dtype(),
                                           .d_table = args.d_table.raw(),
                                           .first_id = args.first_id,
                                           .num_rows = vocabulary,
                                           .d_out_stride = d_out.row_stride(),
                                           .d_table_stride = args.d_table.row_stride()};
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return cuda::embedding_backward(scatter, exec);
  }
  cpu::embedding_backward(scatter, exec);
}

}  // namespace megalith
