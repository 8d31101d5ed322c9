#pragma once
// defines: sigmoid, log_sum_exp, softmax_row, balance_shares, choose_largest

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>

namespace megalith::cpu {

template <class T>
T sigmoid(T x) {
  return T{1} / (T{1} + std::exp(-x));
}

template <class T>
T log_sum_exp(const T* x, int64_t count) {
  const T largest = *std::max_element(x, x + count);
  T sum = 0;
  for (int64_t i = 0; i < count; ++i) sum += std::exp(x[i] - largest);
  return largest + std::log(sum);
}

template <class T>
void softmax_row(const T* x, int64_t count, T* y) {
  const T shift = log_sum_exp(x, count);
  for (int64_t i = 0; i < count; ++i) y[i] = std::exp(x[i] - shift);
}

/// P of the load-balancing loss; for sigmoid the scores over their sum, which is returned (1 for softmax).
template <class T>
T balance_shares(const T* logits, int64_t count, bool is_sigmoid, T* shares) {
  if (!is_sigmoid) {
    softmax_row(logits, count, shares);
    return 1;
  }
  T sum = T(1e-20);
  for (int64_t e = 0; e < count; ++e) sum += shares[e] = sigmoid(logits[e]);
  for (int64_t e = 0; e < count; ++e) shares[e] /= sum;
  return sum;
}

/// The places of the `num` largest scores, largest first, ties by place. Chosen scores become -inf.
template <class T, class Visit>
void choose_largest(T* scores, int64_t count, int64_t num, Visit visit) {
  for (int64_t j = 0; j < num; ++j) {
    const auto best = std::max_element(scores, scores + count) - scores;  // the first of equal ones
    visit(j, best, scores[best]);
    scores[best] = -std::numeric_limits<T>::infinity();
  }
}

}  // namespace megalith::cpu
