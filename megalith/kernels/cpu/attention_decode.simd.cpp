// defines: attention_decode

#include "megalith/kernels/cpu/attention_blocks.h"
#include "megalith/kernels/cpu/dot_products.h"
#include "megalith/kernels/cpu/float_types.h"

namespace megalith::cpu::MG_ISA {
namespace {

// What some keys contribute to one query row: sum of weights relative to the largest score, and of weights
// times values.
template <class Sum>
struct Partial {
  Sum* largest;
  Sum* total;
  Sum* output;  // [head_dim]
};

template <class Sum>
Partial<Sum> partial_at(const AttentionProblem& p, const AttentionWorkspace& w, int64_t pair, int64_t span,
                        int64_t row) {
  const int64_t rows = p.heads / p.kv_heads * p.queries;
  const int64_t spans = (p.keys + kKeySpan - 1) / kKeySpan;
  Sum* begin = static_cast<Sum*>(w.shared) + ((pair * spans + span) * rows + row) * (p.head_dim + 2);
  return {begin, begin + 1, begin + 2};
}

// A key or value row is used for all query rows while it is in the first-level cache: rows of one head often
// lie a multiple of a page apart and push each other out.
constexpr int64_t kKeysAtOnce = 4;

// scores[row, j] = q[row] . k[j], rows of scores kKeySpan apart
template <class T>
void score(const accumulate_t<T>* q, int64_t rows, const T* k, int64_t stride, int64_t head_dim,
           int64_t count, accumulate_t<T>* scores) {
  for (int64_t j = 0; j < count; j += kKeysAtOnce) {
    for (int64_t row = 0; row < rows; ++row) {
      accumulate_t<T>* to = scores + row * kKeySpan + j;
      if (j + kKeysAtOnce <= count) {
        dot_rows<kKeysAtOnce>(q + row * head_dim, k + j * stride, stride, head_dim, to);
      } else {
        for (int64_t r = 0; r < count - j; ++r)
          dot_rows<1>(q + row * head_dim, k + (j + r) * stride, stride, head_dim, to + r);
      }
    }
  }
}

// output[row] += sum of weights[row, j] * v[j], outputs output_stride apart
template <class T>
void add_values(const accumulate_t<T>* weights, int64_t rows, const T* v, int64_t stride, int64_t head_dim,
                int64_t count, accumulate_t<T>* output, int64_t output_stride) {
  using Sum = accumulate_t<T>;
  int64_t j = 0;
  for (; j + kKeysAtOnce <= count; j += kKeysAtOnce) {
    const T* v0 = v + j * stride;
    const T* v1 = v0 + stride;
    const T* v2 = v1 + stride;
    const T* v3 = v2 + stride;
    for (int64_t row = 0; row < rows; ++row) {
      const Sum* w = weights + row * kKeySpan + j;
      const Sum w0 = w[0], w1 = w[1], w2 = w[2], w3 = w[3];
      Sum* to = output + row * output_stride;
#pragma omp simd
      for (int64_t d = 0; d < head_dim; ++d) {
        to[d] += w0 * static_cast<Sum>(v0[d]) + w1 * static_cast<Sum>(v1[d]) + w2 * static_cast<Sum>(v2[d]) +
                 w3 * static_cast<Sum>(v3[d]);
      }
    }
  }
  for (; j < count; ++j) {
    for (int64_t row = 0; row < rows; ++row) {
      const Sum weight = weights[row * kKeySpan + j];
      Sum* to = output + row * output_stride;
#pragma omp simd
      for (int64_t d = 0; d < head_dim; ++d) to[d] += weight * static_cast<Sum>(v[j * stride + d]);
    }
  }
}

// Scores [begin, end) to weights; returns their sum.
template <class Sum>
Sum weigh(Sum* scores, int64_t begin, int64_t end, Sum largest) {
  constexpr int64_t kWidth = kLanes<Sum>;
  set_span(scores, 0, begin, -static_cast<Sum>(INFINITY));
  set_span(scores, end, kKeySpan, -static_cast<Sum>(INFINITY));
  Vec<Sum> sum{};
  for (int64_t j = 0; j < kKeySpan; j += kWidth) {
    const Vec<Sum> weight = exp_nonpositive(load_vector(scores + j) - largest);
    store_vector(scores + j, weight);
    sum += weight;
  }
  return sum_lanes<Sum>(sum);
}

// All query rows of one key/value head against one span of keys.
template <class T>
void attend(const AttentionProblem& p, const AttentionWorkspace& w, int64_t pair, int64_t span) {
  using Sum = accumulate_t<T>;
  const int64_t b = pair / p.kv_heads;
  const int64_t kv_head = pair % p.kv_heads;
  const int64_t group = p.heads / p.kv_heads;
  const int64_t rows = group * p.queries;
  const int64_t first = span * kKeySpan;
  const int64_t count = smaller(kKeySpan, p.keys - first);
  const Head<T> k = head_at<T>(p.k, b, kv_head);
  const Head<T> v = head_at<T>(p.v, b, kv_head);
  Sum* q = static_cast<Sum*>(w.per_thread) + thread_index() * w.thread_size;
  for (int64_t row = 0; row < rows; ++row) {
    load_rows(head_at<T>(p.q, b, kv_head * group + row / p.queries), row % p.queries, 1, 1, p.head_dim,
              p.head_dim, static_cast<Sum>(p.scale), q + row * p.head_dim);
  }
  Sum scores[kMaxDecodeRows * kKeySpan];
  score(q, rows, k.data + first * k.stride, k.stride, p.head_dim, count, scores);
  for (int64_t row = 0; row < rows; ++row) {
    Sum* row_scores = scores + row * kKeySpan;
    const Partial<Sum> partial = partial_at<Sum>(p, w, pair, span, row);
    set_span(partial.output, 0, p.head_dim, Sum{0});
    const int64_t query = row % p.queries;
    const Visible keys = visible_keys(p, b, query);
    const int64_t begin = smaller(larger(keys.begin - first, 0), count);
    const int64_t end = larger(smaller(keys.end - first, count), 0);
    Sum largest = -static_cast<Sum>(INFINITY);
    for (int64_t j = begin; j < end; ++j) largest = largest < row_scores[j] ? row_scores[j] : largest;
    *partial.largest = largest;
    *partial.total = 0;
    if (begin >= end) {
      set_span(row_scores, 0, kKeySpan, Sum{0});
      continue;
    }
    *partial.total = weigh(row_scores, begin, end, largest);
    if (p.dropout_threshold > 0)
      apply_dropout(p, b, kv_head * group + row / p.queries, query, first, kKeySpan, row_scores);
  }
  add_values(scores, rows, v.data + first * v.stride, v.stride, p.head_dim, count,
             partial_at<Sum>(p, w, pair, span, 0).output, p.head_dim + 2);
}

template <class T>
void merge(const AttentionProblem& p, const AttentionWorkspace& w, int64_t pair, int64_t row) {
  using Sum = accumulate_t<T>;
  const int64_t b = pair / p.kv_heads;
  const int64_t head = pair % p.kv_heads * (p.heads / p.kv_heads) + row / p.queries;
  const int64_t query = row % p.queries;
  const int64_t spans = (p.keys + kKeySpan - 1) / kKeySpan;
  Sum largest = -static_cast<Sum>(INFINITY);
  for (int64_t span = 0; span < spans; ++span) {
    const Sum value = *partial_at<Sum>(p, w, pair, span, row).largest;
    largest = largest < value ? value : largest;
  }
  Sum* output = static_cast<Sum*>(w.per_thread) + thread_index() * w.thread_size;
  set_span(output, 0, p.head_dim, Sum{0});
  Sum total = 0;
  for (int64_t span = 0; span < spans; ++span) {
    const Partial<Sum> partial = partial_at<Sum>(p, w, pair, span, row);
    if (*partial.total == 0) continue;
    const Sum factor = exp_nonpositive(splat(*partial.largest - largest))[0];
    total += factor * *partial.total;
#pragma omp simd
    for (int64_t d = 0; d < p.head_dim; ++d) output[d] += factor * partial.output[d];
  }
  const Head<T> out = head_at<T>(p.out, b, head);
  T* to = out.data + query * out.stride;
  const Sum inverse = total == 0 ? Sum{0} : 1 / total;
  for (int64_t d = 0; d < p.head_dim; ++d) to[d] = T(output[d] * inverse);
  if (p.lse != nullptr)
    static_cast<Sum*>(p.lse)[(b * p.heads + head) * p.queries + query] =
        static_cast<Sum>(static_cast<double>(largest) + log(static_cast<double>(total)));
}

template <class T>
void run(const AttentionProblem& p, const AttentionWorkspace& w) {
  const int64_t spans = (p.keys + kKeySpan - 1) / kKeySpan;
  const int64_t rows = p.heads / p.kv_heads * p.queries;
#pragma omp parallel for num_threads(w.num_threads) schedule(static)
  for (int64_t task = 0; task < w.num_pairs * spans; ++task) attend<T>(p, w, task / spans, task % spans);
#pragma omp parallel for num_threads(w.num_threads) schedule(static)
  for (int64_t task = 0; task < w.num_pairs * rows; ++task) merge<T>(p, w, task / rows, task % rows);
}

}  // namespace

void attention_decode(const AttentionProblem& problem, const AttentionWorkspace& workspace) {
  dispatch_float(problem.dtype, [&]<class T>() { run<T>(problem, workspace); });
}

}  // namespace megalith::cpu::MG_ISA
