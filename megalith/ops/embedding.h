#pragma once
// defines: EmbeddingArgs, embedding, EmbeddingBackwardArgs, embedding_backward

#include "megalith/core/exec.h"

namespace megalith {

/// out[t] = table[ids[t]] (+ positions_table[positions[t]]). ids i32 in [0, V); an id outside is an Error
/// that names it (on a GPU its row is NaN). table, out: f64, f32, bf16. The table may hold rows
/// [first_id, first_id + rows) of a larger one only, of num_ids rows: ids that it does not hold give zeros.
struct EmbeddingArgs {
  Tensor ids;    // [T] i32
  Tensor table;  // [V, H]
  int64_t first_id = 0;
  int64_t num_ids = 0;     ///< 0: the rows of `table`
  Tensor positions;        // [T] i32, or undefined
  Tensor positions_table;  // [P, H], or undefined
  Tensor out;              // [T, H]
};
void embedding(const EmbeddingArgs& args, Exec& exec);

/// d_table[ids[t]] += d_out[t], in the order of t for every row, whatever the number of threads. d_table: f32
/// (f64 for f64), or bf16 for bf16: the sum of a row is rounded once. With accumulate == false the table is
/// cleared first. Ids that it does not hold add nothing.
struct EmbeddingBackwardArgs {
  Tensor ids;      // [T] i32
  Tensor d_out;    // [T, H]
  Tensor d_table;  // [V, H]
  int64_t first_id = 0;
  int64_t num_ids = 0;
  bool accumulate = true;
};
void embedding_backward(const EmbeddingBackwardArgs& args, Exec& exec);

}  // namespace megalith
