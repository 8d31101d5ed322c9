#include "megalith/ops/expert_order.h"

#include <algorithm>
#include <cmath>
#include <map>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/ops/grouped_gemm.h"

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t kTokens = 23, kTopk = 3, kExperts = 6;

Tensor ints(Exec& exec, const std::vector<int32_t>& values, const Shape& shape) {
  return exec.from_host(std::span<const int32_t>(values), shape);
}

// Some choices are dropped, and expert 4 gets nothing.
Tensor some_experts(Exec& exec, uint64_t seed) {
  std::vector<int32_t> experts;
  for (int64_t i = 0; i < kTokens * kTopk; ++i) {
    const auto expert = static_cast<int32_t>(RngKey{seed, 0}.bits(static_cast<uint64_t>(i)) % kExperts);
    experts.push_back(expert == 4 ? -1 : expert);
  }
  return ints(exec, experts, {kTokens, kTopk});
}

TEST(SortByExpert, PutsEveryChoiceInOneRowOfItsExpert) {
  Exec exec;
  for (const auto& [first, num, padded] :
       std::vector<std::array<int64_t, 3>>{{0, 6, 0}, {0, 6, 40}, {2, 3, 0}, {4, 1, 0}, {5, 1, 30}}) {
    const Tensor experts = some_experts(exec, 1);
    const ExpertOrder order = sort_by_expert(
        {.experts = experts, .first_expert = first, .num_experts = num, .rows_per_expert = padded}, exec);
    const std::vector<int64_t> ends = to_vector<int64_t>(order.offsets);
    const std::vector<int64_t> tokens = to_vector<int64_t>(order.tokens.from);
    const std::vector<int64_t> choices = to_vector<int64_t>(order.choices.from);
    const std::vector<int64_t> rows = to_vector<int64_t>(order.tokens.to);
    const std::vector<int64_t> expert = to_vector<int64_t>(experts);
    ASSERT_EQ(static_cast<int64_t>(ends.size()), num + 1);
    ASSERT_EQ(static_cast<int64_t>(tokens.size()), ends.back());
    EXPECT_EQ(to_vector<int64_t>(order.choices.to), rows);
    int64_t num_placed = 0;
    for (int64_t i = 0; i < kTokens * kTopk; ++i) {
      const int64_t e = expert[i] < 0 ? -1 : expert[i] - first;
      if (e < 0 || e >= num) {
        EXPECT_EQ(rows[i], -1);
        continue;
      }
      ++num_placed;
      EXPECT_GE(rows[i], ends[e]);
      EXPECT_LT(rows[i], ends[e + 1]);
      EXPECT_EQ(choices[rows[i]], i);
      EXPECT_EQ(tokens[rows[i]], i / kTopk);
    }
    EXPECT_EQ(static_cast<int64_t>(choices.size()) - std::count(choices.begin(), choices.end(), -1),
              num_placed);
    for (int64_t e = 0; e < num; ++e) {
      if (padded > 0) {
        EXPECT_EQ(ends[e + 1] - ends[e], padded);
        continue;
      }
      EXPECT_TRUE(std::is_sorted(choices.begin() + ends[e], choices.begin() + ends[e + 1]));
    }
  }
}

// As if all rows were there: those behind the last that fits are not, nor are those of later tokens.
TEST(SortByExpert, GivesNoRowToWhatFindsNoRoom) {
  Exec exec;
  const Tensor experts = some_experts(exec, 1);
  const SortArgs unbounded{.experts = experts, .first_expert = 0, .num_experts = kExperts};
  const ExpertOrder whole = sort_by_expert(unbounded, exec);
  const std::vector<int64_t> choices = to_vector<int64_t>(whole.choices.from),
                             ends = to_vector<int64_t>(whole.offsets);
  const int64_t all = ends.back();
  for (const auto& [max_rows, max_tokens] : std::vector<std::array<int64_t, 2>>{
           {all, 0}, {all + 9, 0}, {all - 1, kTokens}, {all / 2, 0}, {all / 2, kTokens / 2}, {1, 1}}) {
    SortArgs args = unbounded;
    args.max_rows = max_rows;
    args.max_tokens = max_tokens;
    args.dropped = exec.zeros({1}, DType::kF64);
    const ExpertOrder order = sort_by_expert(args, exec);
    std::vector<int64_t> from(static_cast<size_t>(max_rows), RowMap::kUnused), to(kTokens * kTopk, -1);
    int64_t num_placed = 0;
    for (int64_t row = 0; row < std::min(all, max_rows); ++row) {
      const int64_t choice = choices[static_cast<size_t>(row)];
      from[static_cast<size_t>(row)] = -1;
      if (max_tokens > 0 && choice / kTopk >= max_tokens) continue;
      from[static_cast<size_t>(row)] = choice;
      to[static_cast<size_t>(choice)] = row;
      ++num_placed;
    }
    EXPECT_EQ(to_vector<int64_t>(order.choices.from), from);
    EXPECT_EQ(to_vector<int64_t>(order.tokens.to), to);
    EXPECT_EQ(to_vector<double>(args.dropped)[0], static_cast<double>(all - num_placed));
    const std::vector<int64_t> bounded = to_vector<int64_t>(order.offsets);
    for (size_t e = 0; e < ends.size(); ++e) EXPECT_EQ(bounded[e], std::min(ends[e], max_rows));
  }
}

TEST(DropOverCapacity, KeepsTheLargestOrTheFirst) {
  Exec exec;
  const Tensor experts = ints(exec, {0, 1, 0, 1, 0, -1, 0, 1}, {4, 2});
  const std::vector<float> values = {0.2f, 0.5f, 0.9f, 0.5f, 0.3f, 0.8f, 0.1f, 0.6f};
  const Tensor probs = exec.from_host(std::span<const float>(values), {4, 2});
  const auto kept = [&](TokenDrop policy, int64_t capacity) {
    return values_of(drop_over_capacity(
        {.experts = experts, .probs = probs, .num_experts = 2, .capacity = capacity, .policy = policy},
        exec));
  };
  EXPECT_EQ(kept(TokenDrop::kProbs, 2), (std::vector<double>{-1, 1, 0, -1, 0, -1, -1, 1}));
  EXPECT_EQ(kept(TokenDrop::kPosition, 2), (std::vector<double>{0, 1, 0, 1, -1, -1, -1, -1}));
  EXPECT_EQ(kept(TokenDrop::kProbs, 4), values_of(experts));
}

TEST(RowMap, CombineIsTheAdjointOfPermute) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const int64_t cols : {1, 7, 64, 131}) {
      for (const Layout layout : kLayouts) {
        const ExpertOrder order =
            sort_by_expert({.experts = some_experts(exec, 2), .num_experts = kExperts}, exec);
        const int64_t rows = order.tokens.num_to();
        const Tensor few = random_tensor(exec, {kTokens, cols}, dtype, 3, layout);
        const Tensor many = random_tensor(exec, {rows, cols}, dtype, 4, layout);
        const Tensor permuted = poisoned_tensor(exec, {rows, cols}, dtype, layout);
        const Tensor combined = poisoned_tensor(exec, {kTokens, cols}, dtype, layout);
        permute_rows(few, order.tokens, permuted, exec);
        combine_rows(many, order.tokens, combined, exec);
        std::vector<double> expected, sums(static_cast<size_t>(kTokens * cols));
        const std::vector<int64_t> from = to_vector<int64_t>(order.tokens.from);
        const std::vector<double> few_values = values_of(few), many_values = values_of(many);
        for (int64_t m = 0; m < rows; ++m) {
          for (int64_t c = 0; c < cols; ++c) {
            expected.push_back(few_values[static_cast<size_t>(from[m] * cols + c)]);
            sums[static_cast<size_t>(from[m] * cols + c)] += many_values[static_cast<size_t>(m * cols + c)];
          }
        }
        EXPECT_EQ(values_of(permuted), expected);
        expect_close(combined, sums, tolerance(dtype, kTopk), "combined");

        const Tensor dots = poisoned_tensor(exec, {rows}, dtype == DType::kF64 ? dtype : DType::kF32);
        row_dots(many, permuted, dots, exec);
        std::vector<double> products(static_cast<size_t>(rows));
        for (int64_t i = 0; i < rows * cols; ++i)
          products[static_cast<size_t>(i / cols)] +=
              many_values[static_cast<size_t>(i)] * expected[static_cast<size_t>(i)];
        expect_close(dots, products, tolerance(dots.dtype(), cols), "dots");
      }
    }
  });
}

TEST(GroupedGemm, EachGroupMeetsItsWeight) {
  for_each_variant([](DType dtype, Exec& exec) {
    const Tensor offsets = ints(exec, {0, 3, 3, 10}, {4});
    const Tensor x = random_tensor(exec, {10, 5}, dtype, 1);
    std::vector<Tensor> weights, transposed;
    for (uint64_t e = 0; e < 3; ++e) {
      weights.push_back(random_tensor(exec, {4, 5}, dtype, 10 + e));
      transposed.push_back(random_tensor(exec, {5, 4}, dtype, 20 + e));
    }
    for (const bool is_transposed : {false, true}) {
      const std::vector<Tensor>& w = is_transposed ? transposed : weights;
      const Tensor y = poisoned_tensor(exec, {10, 4}, dtype);
      grouped_gemm({.x = x,
                    .weights = w,
                    .offsets = offsets,
                    .y = y,
                    .transpose_w = is_transposed ? Transpose::kNo : Transpose::kYes},
                   exec);
      std::vector<double> expected;
      for (int64_t row = 0; row < 10; ++row) {
        const std::vector<double> weight = values_of(w[row < 3 ? 0 : 2]);
        for (int64_t n = 0; n < 4; ++n) {
          double sum = 0;
          for (int64_t k = 0; k < 5; ++k)
            sum += values_of(x)[static_cast<size_t>(row * 5 + k)] *
                   weight[static_cast<size_t>(is_transposed ? k * 4 + n : n * 5 + k)];
          expected.push_back(sum);
        }
      }
      expect_close(y, expected, tolerance(dtype, 5), "y");
    }
    // Rows behind the last group are nobody's.
    const Tensor y = poisoned_tensor(exec, {10, 4}, dtype);
    const Tensor early = ints(exec, {0, 3, 3, 8}, {4});
    grouped_gemm({.x = x, .weights = weights, .offsets = early, .y = y}, exec);
    for (const double value : values_of(y.slice(0, 8, 10))) EXPECT_TRUE(std::isnan(value));
    for (const double value : values_of(y.slice(0, 0, 8))) EXPECT_FALSE(std::isnan(value));
    EXPECT_THAT(
        [&] {
          grouped_gemm({.x = x, .weights = weights, .offsets = ints(exec, {0, 4, 2, 10}, {4}), .y = x}, exec);
        },
        ThrowsMessage<Error>(HasSubstr("group 1")));
  });
}

}  // namespace
}  // namespace megalith
