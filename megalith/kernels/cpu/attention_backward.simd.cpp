// defines: attention_backward

#include "megalith/kernels/cpu/attention_blocks.h"
#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/tile_product.h"

namespace megalith::cpu::MG_ISA {
namespace {

// One key/value head with the gradients of its keys and values, which collect over its query heads and query
// blocks in their order (FlashAttention-2, algorithm 2, with the loops exchanged).
template <class T>
class KeyHead {
 public:
  using Sum = accumulate_t<T>;

  KeyHead(const AttentionProblem& p, const AttentionGradients& g, Sum* memory)
      : p_(p), g_(g), width_(padded(p.head_dim, kHeadDimMultiple)), keys_(padded(p.keys, kKeyBlock)) {
    const auto take = [&](int64_t count) {
      Sum* place = memory;
      memory += count;
      return place;
    };
    k_transposed_ = take(keys_ * p.head_dim);
    v_transposed_ = take(keys_ * p.head_dim);
    k_ = take(keys_ * width_);
    d_k_ = take(keys_ * width_);
    d_v_ = take(keys_ * width_);
    q_ = take(kQueryBlock * width_);
    d_out_ = take(kQueryBlock * width_);
    d_q_ = take(kQueryBlock * width_);
    weights_ = take(kQueryBlock * kKeySpan);
    d_scores_ = take(kQueryBlock * kKeySpan);
  }

  void run(int64_t pair) {
    b_ = pair / p_.kv_heads;
    const int64_t kv_head = pair % p_.kv_heads;
    const int64_t group = p_.heads / p_.kv_heads;
    load(kv_head);
    for (int64_t head = kv_head * group; head < (kv_head + 1) * group; ++head) {
      head_ = head;
      for (int64_t begin = 0; begin < p_.queries; begin += kQueryBlock) add_queries(begin);
    }
    store(d_k_, head_at<T>(g_.d_k, b_, kv_head), 0, p_.keys, Sum{1});
    store(d_v_, head_at<T>(g_.d_v, b_, kv_head), 0, p_.keys, Sum{1});
  }

 private:
  void load(int64_t kv_head) {
    const Head<T> k = head_at<T>(p_.k, b_, kv_head);
    const Head<T> v = head_at<T>(p_.v, b_, kv_head);
    for (int64_t begin = 0; begin < p_.keys; begin += kKeyBlock) {
      const int64_t count = smaller(kKeyBlock, p_.keys - begin);
      load_transposed(k, begin, count, p_.head_dim, k_transposed_ + begin * p_.head_dim);
      load_transposed(v, begin, count, p_.head_dim, v_transposed_ + begin * p_.head_dim);
    }
    load_rows(k, 0, p_.keys, p_.keys, p_.head_dim, width_, Sum{1}, k_);
    set_span(d_k_, 0, keys_ * width_, Sum{0});
    set_span(d_v_, 0, keys_ * width_, Sum{0});
  }

  void store(const Sum* from, Head<T> head, int64_t begin, int64_t count, Sum scale) {
    for (int64_t row = 0; row < count; ++row) {
      T* to = head.data + (begin + row) * head.stride;
#pragma omp simd
      for (int64_t d = 0; d < p_.head_dim; ++d) to[d] = T(from[row * width_ + d] * scale);
    }
  }

  void add_queries(int64_t begin) {
    begin_ = begin;
    rows_ = smaller(kQueryBlock, p_.queries - begin);
    padded_rows_ = padded(rows_, kTileRows);
    load_rows(head_at<T>(p_.q, b_, head_), begin, rows_, padded_rows_, p_.head_dim, width_,
              static_cast<Sum>(p_.scale), q_);
    load_rows(head_at<T>(g_.d_out, b_, head_), begin, rows_, padded_rows_, p_.head_dim, width_, Sum{1},
              d_out_);
    set_span(d_q_, 0, padded_rows_ * width_, Sum{0});
    const Head<T> out = head_at<T>(p_.out, b_, head_);
    Visible all{p_.keys, 0};
    for (int64_t row = 0; row < rows_; ++row) {
      const T* out_row = out.data + (begin + row) * out.stride;
      Sum delta = 0;
#pragma omp simd reduction(+ : delta)
      for (int64_t d = 0; d < p_.head_dim; ++d)
        delta += static_cast<Sum>(out_row[d]) * d_out_[row * width_ + d];
      delta_[row] = delta;
      visible_[row] = visible_keys(p_, b_, begin + row);
      all = {smaller(all.begin, visible_[row].begin), larger(all.end, visible_[row].end)};
    }
    for (int64_t row = rows_; row < padded_rows_; ++row) visible_[row] = {0, 0};
    for (int64_t span = all.begin / kKeySpan * kKeySpan; span < all.end; span += kKeySpan)
      add_span(span, all.begin, smaller(padded(all.end - span, kHeadDimMultiple), kKeySpan));
    store(d_q_, head_at<T>(g_.d_q, b_, head_), begin, rows_, static_cast<Sum>(p_.scale));
  }

  void add_span(int64_t span, int64_t first_key, int64_t columns) {
    for (int64_t row = 0; row < padded_rows_; row += kTileRows) differentiate(row, span, first_key, columns);
    for (int64_t block = 0; block < columns; block += kKeyBlock) {
      const int64_t key = span + block;
      if (key + kKeyBlock <= first_key) continue;
      int64_t row = 0;  // rows before it see no key of the block
      while (row < padded_rows_ && last_of(row) <= key) row += kTileRows;
      if (row == padded_rows_) continue;
      const int64_t count = smaller(columns - block, kKeyBlock);
      const int64_t tile = row * kKeySpan + block;
      multiply_tile<Sum>({count, width_, rows_ - row, weights_ + tile, 1, kKeySpan, d_out_ + row * width_,
                          width_, d_v_ + key * width_, width_},
                         Sums::kContinue);
      multiply_tile<Sum>({count, width_, rows_ - row, d_scores_ + tile, 1, kKeySpan, q_ + row * width_,
                          width_, d_k_ + key * width_, width_},
                         Sums::kContinue);
    }
  }

  // One past the last key that a row of this tile sees.
  int64_t last_of(int64_t row) const {
    int64_t end = 0;
    for (int64_t r = row; r < row + kTileRows; ++r) end = larger(end, visible_[r].end);
    return end;
  }

  // Weights and gradients of the scores for kTileRows rows, and their share of d_q.
  void differentiate(int64_t row, int64_t span, int64_t first_key, int64_t columns) {
    const int64_t count = smaller(larger(last_of(row) - span, 0), kKeySpan);
    const int64_t used = padded(count, kHeadDimMultiple);
    Sum* weights = weights_ + row * kKeySpan;
    Sum* d_scores = d_scores_ + row * kKeySpan;
    for (int64_t block = 0; block < used; block += kKeyBlock) {
      if (span + block + kKeyBlock <= first_key) continue;  // left undefined; cleared below
      const int64_t size = smaller(used - block, kKeyBlock);
      const int64_t key = (span + block) * p_.head_dim;
      multiply_tile<Sum>({kTileRows, size, p_.head_dim, q_ + row * width_, width_, 1, k_transposed_ + key,
                          kKeyBlock, weights + block, kKeySpan},
                         Sums::kStart);
      multiply_tile<Sum>({kTileRows, size, p_.head_dim, d_out_ + row * width_, width_, 1, v_transposed_ + key,
                          kKeyBlock, d_scores + block, kKeySpan},
                         Sums::kStart);
    }
    for (int64_t r = row; r < row + kTileRows; ++r) differentiate_row(r, span, used, columns);
    if (count > 0)
      multiply_tile<Sum>({kTileRows, width_, count, d_scores, kKeySpan, 1, k_ + span * width_, width_,
                          d_q_ + row * width_, width_},
                         Sums::kContinue);
  }

  void differentiate_row(int64_t row, int64_t span, int64_t used, int64_t columns) {
    constexpr int64_t kWidth = kLanes<Sum>;
    Sum* weights = weights_ + row * kKeySpan;
    Sum* d_scores = d_scores_ + row * kKeySpan;
    const int64_t begin = smaller(larger(visible_[row].begin - span, 0), used);
    const int64_t end = smaller(visible_[row].end - span, used);
    if (begin >= end) {
      set_span(weights, 0, columns, Sum{0});
      set_span(d_scores, 0, columns, Sum{0});
      return;
    }
    const Sum lse = static_cast<const Sum*>(p_.lse)[(b_ * p_.heads + head_) * p_.queries + begin_ + row];
    const Sum delta = delta_[row];
    set_span(weights, 0, begin, -static_cast<Sum>(INFINITY));
    set_span(weights, end, columns, -static_cast<Sum>(INFINITY));
    set_span(d_scores, 0, begin, Sum{0});
    set_span(d_scores, end, columns, Sum{0});
    if (p_.dropout_threshold > 0) return differentiate_dropped(row, span, columns, lse);
    for (int64_t j = 0; j < columns; j += kWidth) {
      const Vec<Sum> weight = exp_nonpositive(load_vector(weights + j) - lse);
      store_vector(weights + j, weight);
      store_vector(d_scores + j, weight * (load_vector(d_scores + j) - delta));
    }
  }

  // The weights that multiply the values are the dropped ones; the softmax is that of all.
  void differentiate_dropped(int64_t row, int64_t span, int64_t columns, Sum lse) {
    constexpr int64_t kWidth = kLanes<Sum>;
    Sum* weights = weights_ + row * kKeySpan;
    Sum* d_scores = d_scores_ + row * kKeySpan;
    Sum kept[kKeySpan];
    set_span(kept, 0, columns, Sum{1});
    apply_dropout(p_, b_, head_, begin_ + row, span, columns, kept);
    for (int64_t j = 0; j < columns; j += kWidth) {
      const Vec<Sum> weight = exp_nonpositive(load_vector(weights + j) - lse);
      const Vec<Sum> mask = load_vector(kept + j);
      store_vector(weights + j, weight * mask);
      store_vector(d_scores + j, weight * (load_vector(d_scores + j) * mask - delta_[row]));
    }
  }

  const AttentionProblem& p_;
  const AttentionGradients& g_;
  int64_t width_, keys_;
  int64_t b_ = 0, head_ = 0, begin_ = 0, rows_ = 0, padded_rows_ = 0;
  Sum *k_transposed_, *v_transposed_;  // [keys / kKeyBlock, head_dim, kKeyBlock]
  Sum *k_, *d_k_, *d_v_;               // [keys, width]
  Sum *q_, *d_out_, *d_q_;             // [kQueryBlock, width]; q scaled
  Sum *weights_, *d_scores_;           // [kQueryBlock, kKeySpan]
  Sum delta_[kQueryBlock];
  Visible visible_[kQueryBlock];
};

template <class T>
void run(const AttentionProblem& p, const AttentionGradients& g, const AttentionWorkspace& w) {
  using Sum = accumulate_t<T>;
#pragma omp parallel for num_threads(w.num_threads) schedule(dynamic)
  for (int64_t pair = 0; pair < w.num_pairs; ++pair) {
    KeyHead<T> keys(p, g, static_cast<Sum*>(w.per_thread) + thread_index() * w.thread_size);
    keys.run(pair);
  }
}

}  // namespace

void attention_backward(const AttentionProblem& problem, const AttentionGradients& gradients,
                        const AttentionWorkspace& workspace) {
  dispatch_float(problem.dtype, [&]<class T>() { run<T>(problem, gradients, workspace); });
}

}  // namespace megalith::cpu::MG_ISA
