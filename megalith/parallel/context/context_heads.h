#pragma once
// defines: ContextHeads

#include "megalith/autograd/functions/attention.h"
#include "megalith/ops/attention.h"
#include "megalith/parallel/context/zigzag.h"

namespace megalith {

/// The fused rows of one rank's share of the sequences, by heads and by halves of the zigzag.
struct ContextHeads {
  ContextHeads(const AttentionOptions& attention_options, int num_ranks, int own_rank, int64_t tokens)
      : options(attention_options),
        zigzag{num_ranks, tokens / attention_options.batch * num_ranks},
        rank(own_rank) {}

  const AttentionOptions& options;
  Zigzag zigzag;
  int rank;

  /// [T, heads D] as [B, S / n, heads, D].
  Tensor heads(const Tensor& rows) const {
    return rows.view({options.batch, zigzag.local_seq(), -1, options.head_dim});
  }
  Tensor queries(const Tensor& qkv) const { return heads(qkv).slice(2, 0, options.num_heads); }
  Tensor keys_values(const Tensor& qkv) const {
    return heads(qkv).slice(2, options.num_heads, options.num_heads + 2 * options.num_query_groups);
  }
  /// Of [B, 2 C, heads, D], a half.
  Tensor half(const Tensor& x, int index) const {
    return x.slice(1, index * zigzag.chunk(), (index + 1) * zigzag.chunk());
  }
  int chunk_of(int half_index) const { return zigzag.chunk_of(rank, half_index); }

  /// Attention of one half of this rank's queries to `kv` [B, S_kv, 2 K, D]. Position-dependent masks are the
  /// caller's.
  AttentionArgs args(const Tensor& q, const Tensor& kv, const Tensor& out, const Tensor& lse,
                     uint64_t stream) const {
    const int64_t k = options.num_query_groups;
    return {.q = q,
            .k = kv.slice(2, 0, k),
            .v = kv.slice(2, k, 2 * k),
            .scale = options.scale,
            .dropout = options.dropout,
            .rng = options.rng.fold("context").fold(stream),
            .out = out,
            .lse = lse};
  }
  Tensor new_lse(DType dtype, Exec& exec) const {
    return exec.empty({options.batch, options.num_heads, zigzag.chunk()},
                      dtype == DType::kF64 ? DType::kF64 : DType::kF32);
  }
};

}  // namespace megalith
