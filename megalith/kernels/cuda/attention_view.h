#pragma once
// defines: cuda::HeadView, cuda::KeyLimitView, cuda::DocumentView, cuda::AttentionView,
// cuda::AttentionGradientView, cuda::ElementKind Plain data that host code and device code both read.

#include <cstdint>

namespace megalith::cuda {

enum class ElementKind : uint8_t { kF32, kBF16, kF16 };

/// A [batch, token, head, head_dim] tensor in device memory with contiguous rows of head_dim. Strides in
/// elements.
struct HeadView {
  void* data = nullptr;
  int64_t batch_stride = 0, token_stride = 0, head_stride = 0;
};

/// A key for each query, [batch, queries], or nothing.
struct KeyLimitView {
  const int32_t* data = nullptr;
  int64_t batch_stride = 0;
};

/// The documents that first_key describes, [count + 1] first tokens, or nothing.
struct DocumentView {
  const int32_t* starts = nullptr;
  int count = 0, longest = 0;
};

/// ops/attention.h for the kernels. Query i stands at key position i + keys - queries + key_gap.
struct AttentionView {
  int batch = 0, queries = 0, keys = 0, heads = 0, kv_heads = 0, head_dim = 0;
  float scale = 1;
  bool is_causal = true;
  /// Every row of every tensor starts at a multiple of 16 bytes and fills whole 16-byte words.
  bool is_aligned = false;
  HeadView q, k, v, out;
  float* lse = nullptr;  // [batch, heads, queries] or null
  KeyLimitView first_key, end_key;
  DocumentView documents;
  int window = -1;  // -1: none
  int key_gap = 0;
  const int32_t* num_keys = nullptr;  // [1], at most keys, or null: as many as keys
  /// As in cpu::AttentionProblem: a weight is kept where the upper 24 bits of its random word reach it.
  uint32_t dropout_threshold = 0;
  float kept_scale = 1;
  uint64_t seed = 0, stream = 0;  // of the Philox key
};

struct AttentionGradientView {
  HeadView d_out, d_q, d_k, d_v;
  float* delta = nullptr;  // [batch, heads, queries] working memory: sums of out * d_out
};

}  // namespace megalith::cuda
