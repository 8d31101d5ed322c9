#pragma once
// defines: EmbeddingArgs, embedding, EmbeddingBackwardArgs, embedding_backward

#include "megalith/core/exec.h"

namespace megalith {

/// out[t] = table[ids[t]] (+ positions_table[positions[t]]). ids i32 in [0, V); an id outside is an Error
/// that names it. table, out: f64, f32, bf16.
struct EmbeddingArgs {
  Tensor ids;              // [T] i32
  Tensor table;            // [V, H]
  Tensor positions;        // [T] i32, or undefined
  Tensor positions_table;  // [P, H], or undefined
  Tensor out;              // [T, H]
};
void embedding(const EmbeddingArgs& args, Exec& exec);

/// d_table[ids[t]] += d_out[t], in the order of t for every row, whatever the number of threads. d_table: f32
/// (f64 for f64). With accumulate == false the table is cleared first.
struct EmbeddingBackwardArgs {
  Tensor ids;      // [T] i32
  Tensor d_out;    // [T, H]
  Tensor d_table;  // [V, H]
  bool accumulate = true;
};
void embedding_backward(const EmbeddingBackwardArgs& args, Exec& exec);

}  // namespace megalith
