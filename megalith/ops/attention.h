#pragma once
// defines: PackedDocuments, AttentionArgs, attention, AttentionBackwardArgs, attention_backward,
// set_deterministic_attention

#include "megalith/core/exec.h"

namespace megalith {

/// Documents packed into the rows of a batch, for kernels that work document by document.
struct PackedDocuments {
  /// i32 [D + 1]: the first token of each in the B S tokens of all rows, ascending from 0; none crosses a
  /// row. From the last on the entries are B S, so that tables of one size serve different numbers of
  /// documents.
  Tensor starts;
  int64_t longest = 0;  ///< none has more tokens
};

/// Scaled dot-product attention in blocks with an online softmax (FlashAttention-2, Dao 2023, algorithm 1):
/// no S x S buffer. Grouped-query: N query heads share K key/value heads, head n reads head n / (N / K). q,
/// k, v, out: f64, f32 or bf16, rows of D contiguous, other dimensions strided (slices of the fused QKV rows
/// are fine). Query i of a sequence stands at key position i + (S_kv - S) + key_gap: with a KV cache the
/// queries are the last ones. What a query sees is all that the masks below leave it; one that sees nothing
/// has out 0 and lse -inf.
struct AttentionArgs {
  Tensor q;  // [B, S, N, D]
  Tensor k;  // [B, S_kv, K, D]
  Tensor v;  // [B, S_kv, K, D]
  double scale = 1;
  bool is_causal = true;  ///< no key behind the query's place
  int64_t window = -1;    ///< and at most as many before it (sliding-window attention); -1: any number
  int64_t key_gap = 0;  ///< keys of the sequence that are not here, between the last of these and the queries
  /// First key that a query may see, per query: i32 [B, S], or undefined for 0 (documents packed into one row
  /// do not see each other).
  Tensor first_key;
  /// The same again where every query is a token of a document and sees that document, up to its place; makes
  /// it faster on a GPU. Undefined starts: not said.
  PackedDocuments documents = {};
  /// One past the last key that a query may see, where is_causal does not say it: i32 [B, S], at most S_kv.
  Tensor end_key = {};
  /// How many of the S_kv keys there are by now, on the device: i32 [1], or undefined for all. A decode step
  /// is captured once and replayed while the sequence grows. Forward only.
  Tensor num_keys;
  double dropout =
      0;  ///< probability; the mask is drawn from rng by (b, n, query, key) and drawn again in the backward
  RngKey rng;
  Tensor out;  // [B, S, N, D]
  Tensor lse;  // [B, N, S] out, f32 (f64 for f64): log of the sum of exp of the scaled scores; undefined when
               // not wanted
};
void attention(const AttentionArgs& args, Exec& exec);

/// Gradients of the above (algorithm 2), from the saved out and lse. d_q, d_k, d_v are written, not added to;
/// the order of all sums is independent of the number of threads.
struct AttentionBackwardArgs {
  AttentionArgs forward;
  Tensor d_out;          // [B, S, N, D]
  Tensor d_q, d_k, d_v;  // as q, k, v
};
void attention_backward(const AttentionBackwardArgs& args, Exec& exec);

/// Whether from here on attention_backward on this GPU gives the same bits in every run. It is off at first:
/// cuDNN, which takes bf16 and f16, then adds up d_q in any order. On, it needs up to 1 GiB more (2 bytes for
/// every query and key of one key head's query heads where that is more), and packed documents take own
/// kernels, which are far slower. Without effect on a CPU and on f32, whose sums have one order.
void set_deterministic_attention(bool is_deterministic, Exec& exec);

}  // namespace megalith
