#pragma once
// defines: embedding, embedding_backward

#include "megalith/kernels/cpu/embedding.h"

namespace megalith::cuda {

/// Ids and positions are below these; they lie on the GPU and are not checked on the host.
struct EmbeddingLimits {
  int64_t num_ids = 0, position_rows = 0;
};

/// As cpu::embedding, on the stream of `exec`. The output of an id or position that there is not is NaN.
void embedding(const cpu::EmbeddingArgs& args, const EmbeddingLimits& limits, Exec& exec);

/// As cpu::embedding_backward, in the same order: the tokens are sorted by id, which keeps those of one id in
/// order, and each id's rows are summed by one thread per column.
void embedding_backward(const cpu::EmbeddingBackwardArgs& args, Exec& exec);

}  // namespace megalith::cuda
