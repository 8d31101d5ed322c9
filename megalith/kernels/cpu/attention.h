#pragma once
// defines: HeadRows, KeyLimits, DocumentStarts, AttentionProblem, AttentionGradients, attention,
// attention_backward; the block sizes of the kernels

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"
#include "megalith/kernels/cpu/philox.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// A [batch, token, head, head_dim] tensor with contiguous rows of head_dim. Strides in elements.
struct HeadRows {
  void* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0, head_stride = 0;
};

/// A key for each query, [batch, queries], or nothing.
struct KeyLimits {
  const int32_t* data = nullptr;
  int64_t batch_stride = 0;
};

/// ops/attention.h: PackedDocuments.
struct DocumentStarts {
  const int32_t* data = nullptr;  // [count + 1]
  int64_t count = 0, longest = 0;
};

/// See ops/attention.h. Query i stands at key position i + keys - queries + key_gap.
struct AttentionProblem {
  DType dtype;
  int64_t batch, queries, keys, heads, kv_heads, head_dim;
  double scale;
  bool is_causal;
  HeadRows q, k, v, out;
  void* lse = nullptr;  // [batch, heads, queries] of accumulate_t, or null
  KeyLimits first_key, end_key;
  DocumentStarts documents;  // for the GPU; first_key says as much
  int64_t window = -1;       // -1: none
  int64_t key_gap = 0;
  const int32_t* num_keys = nullptr;  // for the GPU: [1] there, at most keys; or null
  /// A weight is kept where the upper 24 bits of its random word reach the threshold. The word of (b, n, i,
  /// j) is RngKey::bits(((b * heads + n) * queries + i) * round_up(keys, 4) + j).
  uint32_t dropout_threshold = 0;
  double kept_scale = 1;
  PhiloxKey rng;
};

struct AttentionGradients {
  HeadRows d_out, d_q, d_k, d_v;
};

void attention(const AttentionProblem& problem, Exec& exec);
void attention_backward(const AttentionProblem& problem, const AttentionGradients& gradients, Exec& exec);

/// Queries of a block; keys whose scores are held at once; keys of a transposed block; what head_dim is
/// padded to.
constexpr int64_t kQueryBlock = 32;
constexpr int64_t kKeySpan = 256;
constexpr int64_t kKeyBlock = 64;
constexpr int64_t kHeadDimMultiple = 16;
/// With at most this many query rows for each key head, keys and values are read where they lie, once.
constexpr int64_t kMaxDecodeRows = 8;

/// Working memory of the kernels, in accumulate_t. Pairs are (batch, kv head).
struct AttentionWorkspace {
  void* shared;
  void* per_thread;
  int64_t thread_size;
  int num_threads;
  int64_t first_pair, num_pairs;
};

// Keys and values of some pairs, padded and transposed into `shared`; then all their queries.
MG_DECLARE_PER_ISA(void attention_prefill(const AttentionProblem& problem,
                                          const AttentionWorkspace& workspace))
// All pairs; `shared` holds a partial result for each (pair, span of keys, row).
MG_DECLARE_PER_ISA(void attention_decode(const AttentionProblem& problem,
                                         const AttentionWorkspace& workspace))
MG_DECLARE_PER_ISA(void attention_backward(const AttentionProblem& problem,
                                           const AttentionGradients& gradients,
                                           const AttentionWorkspace& workspace))

}  // namespace megalith::cpu
