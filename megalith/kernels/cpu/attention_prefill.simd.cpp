// defines: attention_prefill

#include "megalith/kernels/cpu/attention_blocks.h"
#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/tile_product.h"

namespace megalith::cpu::MG_ISA {
namespace {

// One key/value head as the block products read it.
template <class Sum>
struct PackedKeys {
  Sum* k_transposed;  // [keys / kKeyBlock, head_dim, kKeyBlock]
  Sum* v;             // [keys, width]
};

template <class Sum>
PackedKeys<Sum> packed_at(const AttentionProblem& p, const AttentionWorkspace& w, int64_t pair) {
  const int64_t keys = padded(p.keys, kKeyBlock);
  const int64_t width = padded(p.head_dim, kHeadDimMultiple);
  Sum* begin = static_cast<Sum*>(w.shared) + (pair - w.first_pair) * keys * (p.head_dim + width);
  return {begin, begin + keys * p.head_dim};
}

// A block of queries of one head: scores of a span of keys, running largest score and sum, unnormalised
// output.
template <class T>
class QueryBlock {
 public:
  using Sum = accumulate_t<T>;

  QueryBlock(const AttentionProblem& p, Sum* memory)
      : p_(p),
        width_(padded(p.head_dim, kHeadDimMultiple)),
        q_(memory),
        output_(q_ + kQueryBlock * width_),
        scores_(output_ + kQueryBlock * width_) {}

  void run(int64_t b, int64_t head, int64_t begin, const PackedKeys<Sum>& packed) {
    b_ = b;
    head_ = head;
    begin_ = begin;
    rows_ = smaller(kQueryBlock, p_.queries - begin);
    const int64_t padded_rows = padded(rows_, kTileRows);
    load_rows(head_at<T>(p_.q, b, head), begin, rows_, padded_rows, p_.head_dim, width_,
              static_cast<Sum>(p_.scale), q_);
    set_span(output_, 0, padded_rows * width_, Sum{0});
    set_span(largest_, 0, kQueryBlock, -static_cast<Sum>(INFINITY));
    set_span(total_, 0, kQueryBlock, Sum{0});
    Visible all{p_.keys, 0};
    for (int64_t row = 0; row < rows_; ++row) {
      const Visible keys = visible_keys(p_, b_, begin_ + row);
      all = {smaller(all.begin, keys.begin), larger(all.end, keys.end)};
    }
    for (int64_t span = all.begin / kKeySpan * kKeySpan; span < all.end; span += kKeySpan) {
      for (int64_t row = 0; row < rows_; row += kTileRows) attend(row, span, all.begin, packed);
    }
    write();
  }

 private:
  // kTileRows rows against the keys of a span. Rows past the last one have q = 0 and no weights.
  void attend(int64_t row, int64_t span, int64_t first_key, const PackedKeys<Sum>& packed) {
    int64_t end = 0;
    for (int64_t r = row; r < smaller(row + kTileRows, rows_); ++r)
      end = larger(end, visible_keys(p_, b_, begin_ + r).end);
    const int64_t count = smaller(end - span, kKeySpan);
    if (count <= 0) return;
    const int64_t columns = padded(count, kHeadDimMultiple);
    Sum* scores = scores_ + row * kKeySpan;
    for (int64_t block = 0; block < columns; block += kKeyBlock) {
      if (span + block + kKeyBlock <= first_key) continue;  // left undefined; masked below
      multiply_tile<Sum>(
          {kTileRows, smaller(columns - block, kKeyBlock), p_.head_dim, q_ + row * width_, width_, 1,
           packed.k_transposed + (span + block) * p_.head_dim, kKeyBlock, scores + block, kKeySpan},
          Sums::kStart);
    }
    for (int64_t r = row; r < row + kTileRows; ++r) weigh(r, span, columns, scores_ + r * kKeySpan);
    multiply_tile<Sum>({kTileRows, width_, count, scores, kKeySpan, 1, packed.v + span * width_, width_,
                        output_ + row * width_, width_},
                       Sums::kContinue);
  }

  // Scores to weights relative to the largest score so far; what was summed before is brought to the same
  // scale.
  void weigh(int64_t row, int64_t span, int64_t columns, Sum* scores) {
    constexpr int64_t kWidth = kLanes<Sum>;
    const Visible keys = row < rows_ ? visible_keys(p_, b_, begin_ + row) : Visible{0, 0};
    const int64_t begin = smaller(larger(keys.begin - span, 0), columns);
    const int64_t end = smaller(keys.end - span, columns);
    if (begin >= end) return set_span(scores, 0, columns, Sum{0});
    set_span(scores, 0, begin, -static_cast<Sum>(INFINITY));
    set_span(scores, end, columns, -static_cast<Sum>(INFINITY));
    Vec<Sum> largest = splat(largest_[row]);
    for (int64_t j = 0; j < columns; j += kWidth) {
      const Vec<Sum> value = load_vector(scores + j);
      largest = largest < value ? value : largest;
    }
    const Sum new_largest = max_lane<Sum>(largest);
    Vec<Sum> sum{};
    for (int64_t j = 0; j < columns; j += kWidth) {
      const Vec<Sum> weight = exp_nonpositive(load_vector(scores + j) - new_largest);
      store_vector(scores + j, weight);
      sum += weight;
    }
    if (new_largest != largest_[row]) {
      const Sum factor = exp_nonpositive(splat(largest_[row] - new_largest))[0];
      total_[row] *= factor;
      Sum* output = output_ + row * width_;
      for (int64_t d = 0; d < width_; ++d) output[d] *= factor;
      largest_[row] = new_largest;
    }
    total_[row] += sum_lanes<Sum>(sum);
    if (p_.dropout_threshold > 0) apply_dropout(p_, b_, head_, begin_ + row, span, columns, scores);
  }

  void write() {
    const Head<T> out = head_at<T>(p_.out, b_, head_);
    for (int64_t row = 0; row < rows_; ++row) {
      const Sum factor = total_[row] == 0 ? Sum{0} : 1 / total_[row];
      const Sum* output = output_ + row * width_;
      T* to = out.data + (begin_ + row) * out.stride;
#pragma omp simd
      for (int64_t d = 0; d < p_.head_dim; ++d) to[d] = T(output[d] * factor);
    }
    if (p_.lse == nullptr) return;
    Sum* lse = static_cast<Sum*>(p_.lse) + (b_ * p_.heads + head_) * p_.queries + begin_;
    for (int64_t row = 0; row < rows_; ++row)
      lse[row] = static_cast<Sum>(static_cast<double>(largest_[row]) + log(static_cast<double>(total_[row])));
  }

  const AttentionProblem& p_;
  int64_t width_;
  int64_t b_ = 0, head_ = 0, begin_ = 0, rows_ = 0;
  Sum* q_;       // [kQueryBlock, width], scaled
  Sum* output_;  // [kQueryBlock, width]
  Sum* scores_;  // [kQueryBlock, kKeySpan]
  Sum largest_[kQueryBlock];
  Sum total_[kQueryBlock];
};

template <class T>
void pack_keys(const AttentionProblem& p, const AttentionWorkspace& w) {
  using Sum = accumulate_t<T>;
  const int64_t width = padded(p.head_dim, kHeadDimMultiple);
  const int64_t blocks = (p.keys + kKeyBlock - 1) / kKeyBlock;
#pragma omp parallel for num_threads(w.num_threads) schedule(static)
  for (int64_t task = 0; task < w.num_pairs * blocks; ++task) {
    const int64_t pair = w.first_pair + task / blocks;
    const int64_t begin = task % blocks * kKeyBlock;
    const int64_t count = smaller(kKeyBlock, p.keys - begin);
    const PackedKeys<Sum> packed = packed_at<Sum>(p, w, pair);
    const int64_t b = pair / p.kv_heads;
    const int64_t head = pair % p.kv_heads;
    load_transposed(head_at<T>(p.k, b, head), begin, count, p.head_dim,
                    packed.k_transposed + begin * p.head_dim);
    load_rows(head_at<T>(p.v, b, head), begin, count, count, p.head_dim, width, Sum{1},
              packed.v + begin * width);
  }
}

template <class T>
void run(const AttentionProblem& p, const AttentionWorkspace& w) {
  using Sum = accumulate_t<T>;
  pack_keys<T>(p, w);
  const int64_t blocks = (p.queries + kQueryBlock - 1) / kQueryBlock;
  const int64_t group = p.heads / p.kv_heads;
#pragma omp parallel for num_threads(w.num_threads) schedule(dynamic)
  for (int64_t task = 0; task < w.num_pairs * group * blocks; ++task) {
    const int64_t pair = w.first_pair + task / (group * blocks);
    const int64_t head = pair % p.kv_heads * group + task / blocks % group;
    // The last blocks see the most keys under a causal mask: first, so that threads end together.
    const int64_t block = blocks - 1 - task % blocks;
    QueryBlock<T> queries(p, static_cast<Sum*>(w.per_thread) + thread_index() * w.thread_size);
    queries.run(pair / p.kv_heads, head, block * kQueryBlock, packed_at<Sum>(p, w, pair));
  }
}

}  // namespace

void attention_prefill(const AttentionProblem& problem, const AttentionWorkspace& workspace) {
  dispatch_float(problem.dtype, [&]<class T>() { run<T>(problem, workspace); });
}

}  // namespace megalith::cpu::MG_ISA
