#pragma once
// defines: EmbeddingInput, embedding

#include "megalith/autograd/parameter.h"
#include "megalith/autograd/tape.h"

namespace megalith {

struct EmbeddingInput {
  Tensor ids;        // [T] i32
  Tensor positions;  // [T] i32; read only with a position table
};

/// out[t] = table[ids[t]] (+ position_table[positions[t]]): [T, H]. A rank that holds a shard of the table
/// (its rows) gives zeros for the ids of its peers, and the positions are added on rank 0 alone: the sum over
/// the ranks is the embedding. The gradient of the position table is whole on every rank.
Var embedding(Tape& tape, const EmbeddingInput& input, Parameter& table, Parameter* position_table = nullptr);

}  // namespace megalith
