#pragma once
// defines: Head, head_at, thread_index, Visible, visible_keys, load_rows, load_transposed, set_span, KeptMask
// For the attention *.simd.cpp files.

#ifdef _OPENMP
#include <omp.h>
#endif

#include "megalith/kernels/cpu/attention.h"
#include "megalith/kernels/cpu/simd_vector.h"

namespace megalith::cpu {

[[gnu::always_inline]] static inline int64_t smaller(int64_t a, int64_t b) {
  return a < b ? a : b;
}
[[gnu::always_inline]] static inline int64_t larger(int64_t a, int64_t b) {
  return a < b ? b : a;
}
[[gnu::always_inline]] static inline int64_t padded(int64_t count, int64_t multiple) {
  return (count + multiple - 1) / multiple * multiple;
}

[[gnu::always_inline]] static inline int64_t thread_index() {
#ifdef _OPENMP
  return omp_get_thread_num();
#else
  return 0;
#endif
}

/// The rows of one head of one sequence.
template <class T>
struct Head {
  T* data;
  int64_t stride;
};

template <class T>
[[gnu::always_inline]] static inline Head<T> head_at(const HeadRows& rows, int64_t b, int64_t head) {
  return {static_cast<T*>(rows.data) + b * rows.batch_stride + head * rows.head_stride, rows.token_stride};
}

/// Keys [begin, end).
struct Visible {
  int64_t begin, end;
};

[[gnu::always_inline]] static inline Visible visible_keys(const AttentionProblem& p, int64_t b,
                                                          int64_t query) {
  const int64_t place = query + p.keys - p.queries + p.key_gap;
  int64_t begin = 0, end = p.is_causal ? smaller(place + 1, p.keys) : p.keys;
  if (p.first_key.data != nullptr)
    begin = larger(begin, p.first_key.data[b * p.first_key.batch_stride + query]);
  if (p.window >= 0) begin = larger(begin, place - p.window);
  if (p.end_key.data != nullptr) end = smaller(end, p.end_key.data[b * p.end_key.batch_stride + query]);
  return {begin, end};
}

/// Rows [begin, begin + count) times `scale` as [padded_count, width], filled up with zeros.
template <class T, class Sum>
static void load_rows(Head<T> head, int64_t begin, int64_t count, int64_t padded_count, int64_t head_dim,
                      int64_t width, Sum scale, Sum* target) {
  for (int64_t row = 0; row < count; ++row) {
    const T* from = head.data + (begin + row) * head.stride;
    Sum* to = target + row * width;
#pragma omp simd
    for (int64_t d = 0; d < head_dim; ++d) to[d] = static_cast<Sum>(from[d]) * scale;
    for (int64_t d = head_dim; d < width; ++d) to[d] = 0;
  }
  for (int64_t i = count * width; i < padded_count * width; ++i) target[i] = 0;
}

/// Rows [begin, begin + count), count <= kKeyBlock, as [head_dim, kKeyBlock], filled up with zeros.
template <class T, class Sum>
static void load_transposed(Head<T> head, int64_t begin, int64_t count, int64_t head_dim, Sum* target) {
  for (int64_t row = 0; row < count; ++row) {
    const T* from = head.data + (begin + row) * head.stride;
    for (int64_t d = 0; d < head_dim; ++d) target[d * kKeyBlock + row] = static_cast<Sum>(from[d]);
  }
  if (count == kKeyBlock) return;
  for (int64_t d = 0; d < head_dim; ++d) {
    for (int64_t row = count; row < kKeyBlock; ++row) target[d * kKeyBlock + row] = 0;
  }
}

template <class T>
[[gnu::always_inline]] static inline void set_span(T* values, int64_t begin, int64_t end, T value) {
  for (int64_t i = begin; i < end; ++i) values[i] = value;
}

/// Scales the kept weights of keys [span, span + count) of one query and clears the dropped ones; the span
/// starts at a multiple of kKeySpan, which is one tile of random words.
template <class Sum>
static void apply_dropout(const AttentionProblem& p, int64_t b, int64_t head, int64_t query, int64_t span,
                          int64_t count, Sum* weights) {
  static_assert(kKeySpan == 4 * kPhiloxTile);
  const int64_t row = (b * p.heads + head) * p.queries + query;
  uint32_t words[4][kPhiloxTile];
  philox_words(p.rng, static_cast<uint64_t>(row * ((p.keys + 3) / 4) + span / 4), words);
  const Sum kept_scale = static_cast<Sum>(p.kept_scale);
  for (int64_t j = 0; j < count; ++j) {
    const bool is_kept = words[j % 4][j / 4] >> 8 >= p.dropout_threshold;
    weights[j] = is_kept ? weights[j] * kept_scale : 0;
  }
}

}  // namespace megalith::cpu
