#pragma once
// defines: ContextHeads

#include "megalith/autograd/functions/attention.h"
#include "megalith/ops/attention.h"
#include "megalith/parallel/context/zigzag.h"

namespace megalith {

/// The fused rows of one rank's share of the sequences, by heads and by stretches of its tokens.
struct ContextHeads {
  ContextHeads(const AttentionOptions& attention_options, int num_ranks, int own_rank, int64_t tokens)
      : options(attention_options),
        zigzag{num_ranks, tokens / attention_options.batch * num_ranks},
        rank(own_rank) {}

  const AttentionOptions& options;
  Zigzag zigzag;
  int rank;

  /// Of a rank's tokens of each sequence.
  struct Stretch {
    int64_t begin, count;
    Tensor of(const Tensor& x) const { return x.slice(1, begin, begin + count); }  // [B, S / n, ...]
  };
  Stretch half(int index) const { return {index * zigzag.chunk(), zigzag.chunk()}; }
  Stretch all() const { return {0, zigzag.local_seq()}; }

  /// [T, heads D] as [B, S / n, heads, D].
  Tensor heads(const Tensor& rows) const {
    return rows.view({options.batch, zigzag.local_seq(), -1, options.head_dim});
  }
  Tensor queries(const Tensor& qkv) const { return heads(qkv).slice(2, 0, options.num_heads); }
  Tensor keys_values(const Tensor& qkv) const {
    return heads(qkv).slice(2, options.num_heads, options.num_heads + 2 * options.num_query_groups);
  }

  /// Attention of some of this rank's queries to `kv` [B, S_kv, 2 K, D], without a mask.
  AttentionArgs args(const Tensor& q, const Tensor& kv, const Tensor& out, const Tensor& lse,
                     uint64_t stream) const {
    const int64_t k = options.num_query_groups;
    return {.q = q,
            .k = kv.slice(2, 0, k),
            .v = kv.slice(2, k, 2 * k),
            .scale = options.scale,
            .is_causal = false,
            .first_key = {},
            .num_keys = {},
            .dropout = options.dropout,
            .rng = options.rng.fold("context").fold(stream),
            .out = out,
            .lse = lse};
  }
  Tensor new_lse(int64_t count, DType dtype, Exec& exec) const {
    return exec.empty({options.batch, options.num_heads, count},
                      dtype == DType::kF64 ? DType::kF64 : DType::kF32);
  }
};

}  // namespace megalith
