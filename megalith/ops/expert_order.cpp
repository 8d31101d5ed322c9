#include "megalith/ops/expert_order.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "megalith/base/math.h"
#include "megalith/core/has_cuda.h"
#include "megalith/kernels/cuda/expert_order.h"
#include "megalith/ops/check.h"
#include "megalith/ops/elementwise.h"

namespace megalith {
namespace {

void check_experts(const char* op, const Tensor& experts, Exec& exec) {
  MG_CHECK(experts.defined() && experts.rank() == 2, "{}: experts must be [T, k]", op);
  check_tensor(op, "experts", experts, DType::kI32, experts.shape(), exec);
  check_contiguous(op, "experts", experts);
}

Tensor ints(const std::vector<int32_t>& values, const Shape& shape, Exec& exec) {
  return exec.from_host(std::span<const int32_t>(values), shape);
}

// What a bound of 0 means: none.
int64_t most(int64_t bound) {
  return bound > 0 ? bound : std::numeric_limits<int32_t>::max();
}

Tensor drop_on_gpu(const DropArgs& args, Exec& exec) {
  const Tensor kept = exec.empty(args.experts.shape(), DType::kI32);
  const bool by_weight = args.policy == TokenDrop::kProbs;
  if (by_weight) {
    check_float("drop_over_capacity", "probs", args.probs, exec);
    check_contiguous("drop_over_capacity", "probs", args.probs);
  }
  cuda::drop_choices({.experts = args.experts.data<int32_t>(),
                      .dtype = args.probs.dtype(),
                      .probs = by_weight ? args.probs.raw() : nullptr,
                      .num_choices = args.experts.numel(),
                      .num_experts = args.num_experts,
                      .capacity = args.capacity,
                      .kept = kept.data<int32_t>()},
                     exec);
  return kept;
}

ExpertOrder sort_on_gpu(const SortArgs& args, Exec& exec) {
  const int64_t num_choices = args.experts.numel();
  const Tensor keys = exec.empty({num_choices}, DType::kI32),
               choices = exec.empty({num_choices}, DType::kI32);
  const Tensor offsets = exec.empty({args.num_experts + 1}, DType::kI32);
  cuda::sort_choices({.experts = args.experts.data<int32_t>(),
                      .num_choices = num_choices,
                      .first_expert = args.first_expert,
                      .num_experts = args.num_experts,
                      .rows_per_expert = args.rows_per_expert,
                      .max_rows = most(args.max_rows),
                      .keys = keys.data<int32_t>(),
                      .choices = choices.data<int32_t>(),
                      .offsets = offsets.data<int32_t>()},
                     exec);
  int64_t rows = args.rows_per_expert * args.num_experts;
  if (args.max_rows > 0) {
    rows = args.max_rows;
  } else if (args.rows_per_expert == 0) {
    rows = args.is_complete
               ? num_choices
               : numbers_on_host(offsets.slice(0, args.num_experts, args.num_experts + 1), exec)[0];
  }
  const Tensor to = exec.empty(args.experts.shape(), DType::kI32);
  const ExpertOrder order{
      .tokens = {.from = exec.empty({rows}, DType::kI32), .to = to},
      .choices = {.from = exec.empty({rows}, DType::kI32), .to = to.view({num_choices, 1})},
      .offsets = offsets};
  if (args.rows_per_expert > 0 || args.max_rows > 0) {
    const int32_t none = args.max_rows > 0 ? RowMap::kUnused : -1;
    fill(order.tokens.from, none, exec);
    fill(order.choices.from, none, exec);
  }
  cuda::place_choices({.keys = keys.data<int32_t>(),
                       .choices = choices.data<int32_t>(),
                       .num_choices = num_choices,
                       .num_experts = args.num_experts,
                       .topk = args.experts.dim(1),
                       .rows_per_expert = args.rows_per_expert,
                       .max_rows = most(args.max_rows),
                       .max_tokens = most(args.max_tokens),
                       .dropped = args.dropped.defined() ? args.dropped.data<double>() : nullptr,
                       .token_of_row = order.tokens.from.data<int32_t>(),
                       .choice_of_row = order.choices.from.data<int32_t>(),
                       .row_of_choice = to.data<int32_t>()},
                      exec);
  return order;
}

}  // namespace

std::vector<int64_t> numbers_on_host(const Tensor& numbers, Exec& exec) {
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) {
      check_contiguous("numbers_on_host", "numbers", numbers);
      std::vector<int32_t> values(static_cast<size_t>(numbers.numel()));
      exec.cuda().download(values.data(), numbers.data<int32_t>(), numbers.nbytes());
      return {values.begin(), values.end()};
    }
  }
  return to_vector<int64_t>(numbers);
}

Tensor drop_over_capacity(const DropArgs& args, Exec& exec) {
  constexpr const char* kOp = "drop_over_capacity";
  check_experts(kOp, args.experts, exec);
  MG_CHECK(args.capacity >= 0, "{}: capacity is {}", kOp, args.capacity);
  MG_CHECK(args.probs.shape() == args.experts.shape(), "{}: probs are {}, experts {}", kOp,
           args.probs.shape().str(), args.experts.shape().str());
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return drop_on_gpu(args, exec);
  }
  const int32_t* experts = args.experts.data<int32_t>();
  std::vector<std::vector<int64_t>> choices(static_cast<size_t>(args.num_experts));
  for (int64_t i = 0; i < args.experts.numel(); ++i) {
    MG_CHECK(experts[i] < args.num_experts, "{}: expert {} of {}", kOp, experts[i], args.num_experts);
    if (experts[i] >= 0) choices[static_cast<size_t>(experts[i])].push_back(i);
  }
  const std::vector<double> probs = to_vector<double>(args.probs);
  std::vector<int32_t> kept(experts, experts + args.experts.numel());
  for (std::vector<int64_t>& queue : choices) {
    if (static_cast<int64_t>(queue.size()) <= args.capacity) continue;
    if (args.policy == TokenDrop::kProbs) {
      std::stable_sort(queue.begin(), queue.end(), [&](int64_t a, int64_t b) {
        return probs[static_cast<size_t>(a)] > probs[static_cast<size_t>(b)];
      });
    }
    for (size_t i = static_cast<size_t>(args.capacity); i < queue.size(); ++i)
      kept[static_cast<size_t>(queue[i])] = -1;
  }
  return ints(kept, args.experts.shape(), exec);
}

ExpertOrder sort_by_expert(const SortArgs& args, Exec& exec) {
  constexpr const char* kOp = "sort_by_expert";
  check_experts(kOp, args.experts, exec);
  MG_CHECK(args.num_experts > 0 && args.first_expert >= 0, "{}: experts {} + {}", kOp, args.first_expert,
           args.num_experts);
  MG_CHECK(args.rows_per_expert == 0 || (args.max_rows == 0 && args.max_tokens == 0),
           "{}: {} rows for every expert, and room for {} rows of {} tokens", kOp, args.rows_per_expert,
           args.max_rows, args.max_tokens);
  if (args.dropped.defined()) check_tensor(kOp, "dropped", args.dropped, DType::kF64, {1}, exec);
  if constexpr (kHasCuda) {
    if (exec.device().is_cuda()) return sort_on_gpu(args, exec);
  }
  const int32_t* experts = args.experts.data<int32_t>();
  const int64_t num_choices = args.experts.numel(), topk = args.experts.dim(1);
  const auto held = [&](int64_t choice) {
    const int64_t expert = experts[choice] - args.first_expert;
    return experts[choice] >= 0 && expert >= 0 && expert < args.num_experts ? expert : -1;
  };

  std::vector<int32_t> offsets(static_cast<size_t>(args.num_experts) + 1);
  for (int64_t i = 0; i < num_choices; ++i)
    if (const int64_t expert = held(i); expert >= 0) ++offsets[static_cast<size_t>(expert) + 1];
  for (int64_t e = 0; e < args.num_experts; ++e) {
    int32_t& count = offsets[static_cast<size_t>(e) + 1];
    if (args.rows_per_expert > 0) {
      MG_CHECK(count <= args.rows_per_expert, "{}: expert {} has {} tokens and room for {}", kOp,
               args.first_expert + e, count, args.rows_per_expert);
      count = narrow<int32_t>(args.rows_per_expert);
    }
    count += offsets[static_cast<size_t>(e)];
  }

  MG_CHECK(!args.is_complete || args.rows_per_expert > 0 || offsets.back() == num_choices,
           "{}: {} of {} choices are of the experts", kOp, offsets.back(), num_choices);
  const int64_t rows = args.max_rows > 0 ? args.max_rows : offsets.back();
  std::vector<int32_t> next(offsets.begin(), offsets.end() - 1);
  for (int32_t& offset : offsets) offset = std::min(offset, narrow<int32_t>(rows));
  double dropped = 0;
  const int32_t none = args.max_rows > 0 ? RowMap::kUnused : -1;
  std::vector<int32_t> token_of_row(static_cast<size_t>(rows), none), choice_of_row(token_of_row);
  std::vector<int32_t> row_of_choice(static_cast<size_t>(num_choices), -1);
  for (int64_t i = 0; i < num_choices; ++i) {
    const int64_t expert = held(i);
    if (expert < 0) continue;
    const int32_t row = next[static_cast<size_t>(expert)]++;
    const bool is_here = row < rows, has_token = i / topk < most(args.max_tokens);
    dropped += is_here && has_token ? 0 : 1;
    if (!is_here) continue;
    token_of_row[static_cast<size_t>(row)] = has_token ? narrow<int32_t>(i / topk) : -1;
    choice_of_row[static_cast<size_t>(row)] = has_token ? narrow<int32_t>(i) : -1;
    if (has_token) row_of_choice[static_cast<size_t>(i)] = row;
  }
  if (args.dropped.defined()) *args.dropped.data<double>() += dropped;
  const Tensor to = ints(row_of_choice, args.experts.shape(), exec);
  return {.tokens = {.from = ints(token_of_row, {rows}, exec), .to = to},
          .choices = {.from = ints(choice_of_row, {rows}, exec), .to = to.view({num_choices, 1})},
          .offsets = ints(offsets, {args.num_experts + 1}, exec)};
}

}  // namespace megalith
