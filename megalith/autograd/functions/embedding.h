#pragma once
// defines: EmbeddingInput, embedding

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"

namespace megalith {

struct EmbeddingInput {
  Tensor ids;        // [T] i32
  Tensor positions;  // [T] i32; read only with a position table
};

/// out[t] = table[ids[t]] (+ position_table[positions[t]]): [T, H].
Var embedding(Tape& tape, const EmbeddingInput& input, Parameter& table, Parameter* position_table = nullptr);

}  // namespace megalith
