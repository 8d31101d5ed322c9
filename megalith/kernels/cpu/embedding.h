#pragma once
// defines: EmbeddingArgs, embedding, EmbeddingBackwardArgs, embedding_backward

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// out[t] = table[ids[t] - first_id], or 0 where the table has no such row (+ positions_table[positions[t]]);
/// strides in elements; positions are in range.
struct EmbeddingArgs {
  DType dtype = DType::kF32;
  int64_t tokens = 0, cols = 0;
  const int32_t* ids = nullptr;
  const void* table = nullptr;
  int64_t first_id = 0, num_rows = 0;  // of the table
  const int32_t* positions = nullptr;  // or null
  const void* positions_table = nullptr;
  void* out = nullptr;
  int64_t table_stride = 0, positions_stride = 0, out_stride = 0;
  int num_threads = 1;  // set by embedding()
};
void embedding(EmbeddingArgs args, Exec& exec);

/// d_table[ids[t] - first_id] += d_out[t] where the table has that row, t in ascending order, each row of the
/// table rounded once. Threads own blocks of columns, so every row is summed in that order for any number of
/// threads and however often an id comes.
struct EmbeddingBackwardArgs {
  DType dtype = DType::kF32;  // of d_out
  int64_t tokens = 0, cols = 0;
  const int32_t* ids = nullptr;
  const void* d_out = nullptr;
  DType table_dtype = DType::kF32;  // f32, f64 for f64; or bf16 for bf16
  void* d_table = nullptr;
  int64_t first_id = 0, num_rows = 0;
  int64_t d_out_stride = 0, d_table_stride = 0;
  // Set by embedding_backward():
  const int32_t* tokens_by_row = nullptr;  // [num_held] those whose row the table has, by row, then by t
  int64_t num_held = 0;
  int num_threads = 1;
};
void embedding_backward(EmbeddingBackwardArgs args, Exec& exec);

MG_DECLARE_PER_ISA(void embedding(const EmbeddingArgs& args))
MG_DECLARE_PER_ISA(void embedding_backward(const EmbeddingBackwardArgs& args))

}  // namespace megalith::cpu
