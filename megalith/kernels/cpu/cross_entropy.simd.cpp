#include "megalith/kernels/cpu/cross_entropy.h"

#include <cmath>

#include "megalith/kernels/cpu/float_types.h"
#include "megalith/kernels/cpu/simd_vector.h"

namespace megalith::cpu::MG_ISA {
namespace {

// A block is read for its largest value and again for its exponentials while it is in the first-level cache.
constexpr int64_t kBlock = 1024;

// The last, incomplete vector of a row, filled up with minus infinity.
template <class T>
[[gnu::always_inline]] inline Vec<accumulate_t<T>> load_tail(const T* from, int64_t count) {
  using Sum = accumulate_t<T>;
  Vec<Sum> value = splat(-static_cast<Sum>(INFINITY));
  for (int64_t i = 0; i < count; ++i) value[i] = static_cast<Sum>(from[i]);
  return value;
}

// The largest value and the sum of exp relative to it; kept apart, since together they would be rounded at
// the size of the largest value.
template <class Sum>
struct ExpSum {
  Sum largest;
  double total;
};

// Online softmax (Milakov and Gimelshein 2018), a block at a time.
template <class T>
ExpSum<accumulate_t<T>> sum_exp(const T* x, int64_t columns) {
  using Sum = accumulate_t<T>;
  constexpr int64_t kWidth = kLanes<Sum>;
  Sum largest = -static_cast<Sum>(INFINITY);
  double total = 0;
  for (int64_t begin = 0; begin < columns; begin += kBlock) {
    const int64_t end = begin + kBlock < columns ? begin + kBlock : columns;
    const int64_t whole = begin + (end - begin) / kWidth * kWidth;
    Vec<Sum> block_max = splat(largest);
    for (int64_t j = begin; j < whole; j += kWidth) {
      const Vec<Sum> value = load_vector(x + j);
      block_max = block_max < value ? value : block_max;
    }
    const Vec<Sum> tail = load_tail(x + whole, end - whole);
    block_max = block_max < tail ? tail : block_max;
    const Sum new_largest = max_lane<Sum>(block_max);
    if (new_largest == -static_cast<Sum>(INFINITY)) continue;
    Vec<Sum> sum = exp_nonpositive(tail - new_largest);
    for (int64_t j = begin; j < whole; j += kWidth) sum += exp_nonpositive(load_vector(x + j) - new_largest);
    if (largest != new_largest)
      total *= std::exp(static_cast<double>(largest) - static_cast<double>(new_largest));
    total += static_cast<double>(sum_lanes<Sum>(sum));
    largest = new_largest;
  }
  return {largest, total};
}

// Writes factor * softmax.
template <class T>
void write_softmax(const T* x, int64_t columns, const ExpSum<accumulate_t<T>>& sum, double factor, T* out) {
  using Sum = accumulate_t<T>;
  constexpr int64_t kWidth = kLanes<Sum>;
  const Sum scale = static_cast<Sum>(factor / sum.total);
  const int64_t whole = columns / kWidth * kWidth;
  for (int64_t j = 0; j < whole; j += kWidth)
    store_vector(out + j, exp_nonpositive(load_vector(x + j) - sum.largest) * scale);
  const Vec<Sum> tail = exp_nonpositive(load_tail(x + whole, columns - whole) - sum.largest) * scale;
  for (int64_t j = whole; j < columns; ++j) out[j] = T(tail[j - whole]);
}

template <class Sum>
struct RowStatistics {
  ExpSum<Sum> sum;
  double label_logit;
};

// The shards' statistics of one row, joined in their order.
template <class Sum>
RowStatistics<Sum> join(const Sum* statistics, int64_t num_shards, int64_t rows, int64_t row) {
  RowStatistics<Sum> joint{{-static_cast<Sum>(INFINITY), 0}, 0};
  for (int64_t shard = 0; shard < num_shards; ++shard) {
    const Sum largest = statistics[shard * 3 * rows + row];
    joint.sum.largest = joint.sum.largest < largest ? largest : joint.sum.largest;
  }
  for (int64_t shard = 0; shard < num_shards; ++shard) {
    const Sum* of_shard = statistics + shard * 3 * rows + row;
    if (of_shard[0] != -static_cast<Sum>(INFINITY)) {
      const double distance = static_cast<double>(of_shard[0]) - static_cast<double>(joint.sum.largest);
      joint.sum.total += static_cast<double>(of_shard[rows]) * std::exp(distance);
    }
    joint.label_logit += static_cast<double>(of_shard[2 * rows]);
  }
  return joint;
}

// Place of the label in a row, or -1 where this shard does not hold it.
int64_t label_column(const LogitRows& in, int64_t row) {
  const int64_t column = in.labels[row] - in.first_label;
  return column >= 0 && column < in.columns ? column : -1;
}

template <class T>
RowStatistics<accumulate_t<T>> own_statistics(const T* x, int64_t columns, int64_t label) {
  return {sum_exp(x, columns), label < 0 ? 0 : static_cast<double>(static_cast<accumulate_t<T>>(x[label]))};
}

template <class T>
void run(const CrossEntropyRows& args) {
  using Sum = accumulate_t<T>;
  const LogitRows& in = args.in;
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t row = 0; row < in.rows; ++row) {
    const T* x = static_cast<const T*>(in.logits) + row * in.stride;
    T* dx = args.d_logits == nullptr ? nullptr : static_cast<T*>(args.d_logits) + row * args.d_logits_stride;
    Sum& loss = static_cast<Sum*>(args.loss)[row];
    if (in.labels[row] < 0) {
      loss = 0;
      if (dx != nullptr) std::memset(static_cast<void*>(dx), 0, static_cast<size_t>(in.columns) * sizeof(T));
      continue;
    }
    const int64_t label = label_column(in, row);
    const RowStatistics<Sum> statistics =
        args.statistics == nullptr
            ? own_statistics(x, in.columns, label)
            : join(static_cast<const Sum*>(args.statistics), args.num_shards, in.rows, row);
    const ExpSum<Sum>& sum = statistics.sum;
    const double exact_loss =
        std::log(sum.total) - (statistics.label_logit - static_cast<double>(sum.largest));
    loss = static_cast<Sum>(exact_loss);
    if (dx == nullptr) continue;
    const double weight = args.loss_weights == nullptr
                              ? 1
                              : static_cast<double>(static_cast<const Sum*>(args.loss_weights)[row]);
    const double factor = weight * args.d_loss;
    write_softmax(x, in.columns, sum, factor, dx);
    if (label >= 0) dx[label] = T(static_cast<Sum>(factor * std::expm1(-exact_loss)));
  }
}

template <class T>
void run_statistics(const CrossEntropyStatistics& args) {
  using Sum = accumulate_t<T>;
  const LogitRows& in = args.in;
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t row = 0; row < in.rows; ++row) {
    const RowStatistics<Sum> statistics =
        own_statistics(static_cast<const T*>(in.logits) + row * in.stride, in.columns, label_column(in, row));
    Sum* out = static_cast<Sum*>(args.out) + row;
    out[0] = statistics.sum.largest;
    out[in.rows] = static_cast<Sum>(statistics.sum.total);
    out[2 * in.rows] = static_cast<Sum>(statistics.label_logit);
  }
}

}  // namespace

void cross_entropy(const CrossEntropyRows& rows) {
  dispatch_float(rows.in.dtype, [&]<class T>() { run<T>(rows); });
}

void cross_entropy_statistics(const CrossEntropyStatistics& rows) {
  dispatch_float(rows.in.dtype, [&]<class T>() { run_statistics<T>(rows); });
}

}  // namespace megalith::cpu::MG_ISA
