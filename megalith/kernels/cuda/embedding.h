#pragma once
// defines: embedding, embedding_backward

#include "megalith/kernels/cpu/embedding.h"

namespace megalith::cuda {

/// Rows of the tables; the ids lie on the GPU and are not checked on the host.
struct EmbeddingLimits {
  int64_t table_rows = 0, position_rows = 0;
};

/// As cpu::embedding, on the stream of `exec`. The output of an id outside its table is NaN.
void embedding(const cpu::EmbeddingArgs& args, const EmbeddingLimits& limits, Exec& exec);

/// As cpu::embedding_backward, in the same order: the tokens are sorted by id, which keeps those of one id in
/// order, and each id's rows are summed by one thread per column. An id outside the table adds nothing.
void embedding_backward(const cpu::EmbeddingBackwardArgs& args, int64_t table_rows, Exec& exec);

}  // namespace megalith::cuda
