#pragma once
// defines: AttentionOptions, attention

#include "megalith/autograd/functions/attention_sink.h"
#include "megalith/autograd/tape.h"
#include "megalith/ops/attention.h"

namespace megalith {

struct AttentionOptions {
  int64_t batch = 1;             ///< B; T = B * S
  int64_t num_heads = 1;         ///< N
  int64_t num_query_groups = 1;  ///< K: key/value heads
  int64_t head_dim = 0;          ///< D
  double scale = 1;
  int64_t window = -1;             ///< keys before a query that it sees; -1: all (ops/attention.h)
  Tensor first_key;                // [B, S] i32 or undefined: first key of the query's document
  PackedDocuments documents = {};  ///< what first_key says, by document; or nothing
  double dropout = 0;
  RngKey rng;
  AttentionSink sink = {};  ///< one more key of each head, or none
};

/// Causal attention over fused rows qkv [T, (N + 2K) D] = [Q | K | V] -> [T, N D].
Var attention(Tape& tape, const Var& qkv, const AttentionOptions& options);

}  // namespace megalith
