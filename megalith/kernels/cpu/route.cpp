#include "megalith/kernels/cpu/route.h"

#include <vector>

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/route_row.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {
namespace {

// About what an exponential costs against an addition.
constexpr int64_t kCostPerLogit = 16;

int threads_of(const RouteShape& shape, const Exec& exec) {
  return threads_for(shape.tokens * shape.num_experts * kCostPerLogit, exec.num_threads());
}

// work(token, row), where `row` [E] belongs to the thread.
template <class T, class Work>
void for_each_token(const RouteShape& shape, int num_threads, Work work) {
  const auto stride = static_cast<size_t>(shape.num_experts);
  std::vector<T> rows(stride * static_cast<size_t>(num_threads));
#pragma omp parallel for num_threads(num_threads) schedule(static)
  for (int thread = 0; thread < num_threads; ++thread) {
    const int64_t end = shape.tokens * (thread + 1) / num_threads;
    for (int64_t t = shape.tokens * thread / num_threads; t < end; ++t)
      work(t, rows.data() + stride * static_cast<size_t>(thread));
  }
}

template <class Work>
void dispatch(DType dtype, Work work) {
  if (dtype == DType::kF64) return work.template operator()<double>();
  work.template operator()<float>();
}

// Scores of groups that do not stay become -inf.
template <class T>
void drop_groups(const RouteShape& shape, T* scores) {
  const int64_t size = shape.num_experts / shape.num_groups;
  const auto num_groups = static_cast<size_t>(shape.num_groups);
  std::vector<T> sums(num_groups), row(static_cast<size_t>(size));
  std::vector<bool> stays(num_groups);
  for (size_t g = 0; g < num_groups; ++g) {
    std::copy_n(scores + static_cast<int64_t>(g) * size, size, row.begin());
    choose_largest(row.data(), size, shape.topk / shape.group_topk,
                   [&](int64_t, int64_t, T value) { sums[g] += value; });
  }
  choose_largest(sums.data(), shape.num_groups, shape.group_topk,
                 [&](int64_t, int64_t group, T) { stays[static_cast<size_t>(group)] = true; });
  for (size_t g = 0; g < num_groups; ++g)
    if (!stays[g])
      std::fill_n(scores + static_cast<int64_t>(g) * size, size, -std::numeric_limits<T>::infinity());
}

template <class T>
void route_token(const RouteArgs& args, const T* logits, T* scores, int32_t* experts, T* probs) {
  const RouteShape& shape = args.shape;
  const int64_t count = shape.num_experts, k = shape.topk;
  if (shape.is_sigmoid) {
    for (int64_t e = 0; e < count; ++e)
      scores[e] = sigmoid(logits[e]) + (args.expert_bias != nullptr ? T(args.expert_bias[e]) : T{0});
  } else if (shape.pre_softmax) {
    softmax_row(logits, count, scores);
  } else {
    std::copy_n(logits, count, scores);
  }
  if (shape.num_groups > 0) drop_groups(shape, scores);
  choose_largest(scores, count, k, [&](int64_t j, int64_t expert, T score) {
    experts[j] = static_cast<int32_t>(expert);
    probs[j] = shape.is_sigmoid ? sigmoid(logits[expert]) : score;
  });
  if (!shape.is_sigmoid && !shape.pre_softmax) softmax_row(probs, k, probs);
  T factor = T(shape.scale);
  if (shape.is_sigmoid && k > 1) {
    T sum = T(1e-20);
    for (int64_t j = 0; j < k; ++j) sum += probs[j];
    factor /= sum;
  }
  for (int64_t j = 0; j < k; ++j) probs[j] *= factor;
}

// The gradients g of the chosen weights before `scale`, spread over the logits; `row` is working memory.
template <class T>
void route_token_backward(const RouteShape& shape, const T* logits, const int32_t* experts, const T* d_probs,
                          T* row, T* d_logits) {
  const int64_t count = shape.num_experts, k = shape.topk;
  const T scale = T(shape.scale);
  std::fill_n(d_logits, count, T{0});
  if (shape.is_sigmoid) {
    T sum = k > 1 ? T(1e-20) : T{1}, dot = 0;
    for (int64_t j = 0; j < k; ++j) {
      row[j] = sigmoid(logits[experts[j]]);
      if (k > 1) sum += row[j];
      dot += d_probs[j] * row[j];
    }
    for (int64_t j = 0; j < k; ++j) {
      const T d_score = (d_probs[j] - (k > 1 ? dot / sum : T{0})) / sum;
      d_logits[experts[j]] = scale * d_score * row[j] * (1 - row[j]);
    }
    return;
  }
  T dot = 0;
  if (shape.pre_softmax) {
    softmax_row(logits, count, row);
    for (int64_t j = 0; j < k; ++j) {
      d_logits[experts[j]] = scale * d_probs[j];
      dot += scale * d_probs[j] * row[experts[j]];
    }
    for (int64_t e = 0; e < count; ++e) d_logits[e] = row[e] * (d_logits[e] - dot);
    return;
  }
  for (int64_t j = 0; j < k; ++j) row[j] = logits[experts[j]];
  softmax_row(row, k, row);
  for (int64_t j = 0; j < k; ++j) dot += d_probs[j] * row[j];
  for (int64_t j = 0; j < k; ++j) d_logits[experts[j]] = scale * row[j] * (d_probs[j] - dot);
}

// Adds the gradients of one token and gives its terms of the two sums.
template <class T>
void loss_of_token(const RouterLossArgs& args, const T* logits, const double* counts, T* shares, T* d_logits,
                   double* terms) {
  const int64_t count = args.shape.num_experts;
  if (args.balance_factor != 0) {
    const T sum = balance_shares(logits, count, args.shape.is_sigmoid, shares);
    T dot = 0;
    for (int64_t e = 0; e < count; ++e) dot += T(counts[e]) * shares[e];
    terms[0] = static_cast<double>(dot);
    const T factor = T(args.balance_factor * args.balance_gradient);
    for (int64_t e = 0; e < count; ++e) {
      // d/dx of s / sum s is (1 / sum) ds/dx (n - dot); s = shares * sum.
      const T slope = args.shape.is_sigmoid ? shares[e] * (1 - shares[e] * sum) : shares[e];
      d_logits[e] += factor * slope * (T(counts[e]) - dot);
    }
  }
  if (args.z_factor != 0) {
    const T lse = log_sum_exp(logits, count);
    terms[1] = static_cast<double>(lse) * static_cast<double>(lse);
    const T factor = T(2 * args.z_factor * args.z_gradient) * lse;
    for (int64_t e = 0; e < count; ++e) d_logits[e] += factor * std::exp(logits[e] - lse);
  }
}

}  // namespace

void route(const RouteArgs& args, Exec& exec) {
  const RouteShape& shape = args.shape;
  dispatch(shape.dtype, [&]<class T>() {
    for_each_token<T>(shape, threads_of(shape, exec), [&](int64_t t, T* row) {
      route_token(args, static_cast<const T*>(args.logits) + t * shape.num_experts, row,
                  args.experts + t * shape.topk, static_cast<T*>(args.probs) + t * shape.topk);
    });
  });
}

void route_backward(const RouteBackwardArgs& args, Exec& exec) {
  const RouteShape& shape = args.shape;
  dispatch(shape.dtype, [&]<class T>() {
    for_each_token<T>(shape, threads_of(shape, exec), [&](int64_t t, T* row) {
      route_token_backward(shape, static_cast<const T*>(args.logits) + t * shape.num_experts,
                           args.experts + t * shape.topk,
                           static_cast<const T*>(args.d_probs) + t * shape.topk, row,
                           static_cast<T*>(args.d_logits) + t * shape.num_experts);
    });
  });
}

void router_losses(const RouterLossArgs& args, Exec& exec) {
  const RouteShape& shape = args.shape;
  ScratchFrame frame(exec.scratch());
  auto* terms = frame.take<double>(2 * std::max<int64_t>(shape.tokens, 1), "router loss terms");
  std::fill_n(terms, 2 * shape.tokens, 0.0);
  dispatch(shape.dtype, [&]<class T>() {
    for_each_token<T>(shape, threads_of(shape, exec), [&](int64_t t, T* row) {
      const int64_t sequence = (args.first_token + t) / args.tokens_per_sequence;
      loss_of_token(args, static_cast<const T*>(args.logits) + t * shape.num_experts,
                    args.counts + sequence * shape.num_experts, row,
                    static_cast<T*>(args.d_logits) + t * shape.num_experts, terms + 2 * t);
    });
  });
  for (int64_t t = 0; t < shape.tokens; ++t) {
    args.losses[0] += args.balance_factor * terms[2 * t];
    args.losses[1] += args.z_factor * terms[2 * t + 1];
  }
}

}  // namespace megalith::cpu
