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

template <class T>
void write_softmax(const T* x, int64_t columns, const ExpSum<accumulate_t<T>>& sum, T* out) {
  using Sum = accumulate_t<T>;
  constexpr int64_t kWidth = kLanes<Sum>;
  const Sum factor = static_cast<Sum>(1 / sum.total);
  const int64_t whole = columns / kWidth * kWidth;
  for (int64_t j = 0; j < whole; j += kWidth)
    store_vector(out + j, exp_nonpositive(load_vector(x + j) - sum.largest) * factor);
  const Vec<Sum> tail = exp_nonpositive(load_tail(x + whole, columns - whole) - sum.largest) * factor;
  for (int64_t j = whole; j < columns; ++j) out[j] = T(tail[j - whole]);
}

template <class T>
void run(const CrossEntropyRows& args) {
  using Sum = accumulate_t<T>;
#pragma omp parallel for num_threads(args.num_threads) schedule(static)
  for (int64_t row = 0; row < args.rows; ++row) {
    const T* x = static_cast<const T*>(args.logits) + row * args.logits_stride;
    T* dx = args.d_logits == nullptr ? nullptr : static_cast<T*>(args.d_logits) + row * args.d_logits_stride;
    Sum& loss = static_cast<Sum*>(args.loss)[row];
    const int32_t label = args.labels[row];
    if (label < 0) {
      loss = 0;
      if (dx != nullptr)
        std::memset(static_cast<void*>(dx), 0, static_cast<size_t>(args.columns) * sizeof(T));
      continue;
    }
    const ExpSum<Sum> sum = sum_exp(x, args.columns);
    const double exact_loss = std::log(sum.total) - (static_cast<double>(static_cast<Sum>(x[label])) -
                                                     static_cast<double>(sum.largest));
    loss = static_cast<Sum>(exact_loss);
    if (dx == nullptr) continue;
    write_softmax(x, args.columns, sum, dx);
    dx[label] = T(static_cast<Sum>(std::expm1(-exact_loss)));
  }
}

}  // namespace

void cross_entropy(const CrossEntropyRows& rows) {
  dispatch_float(rows.dtype, [&]<class T>() { run<T>(rows); });
}

}  // namespace megalith::cpu::MG_ISA
