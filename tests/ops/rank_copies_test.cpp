#include "megalith/ops/rank_copies.h"

#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr int64_t kTokens = 37, kTopk = 4, kRanks = 3, kExpertsOfRank = 2;

// Different experts of a token, some of them dropped; rank 1 gets nothing of the first tokens.
std::vector<int32_t> some_experts(uint64_t seed) {
  std::vector<int32_t> experts;
  for (int64_t t = 0; t < kTokens; ++t) {
    const auto first = static_cast<int64_t>(RngKey{seed, 0}.bits(static_cast<uint64_t>(t)) % 6);
    for (int64_t j = 0; j < kTopk; ++j) {
      const auto expert = static_cast<int32_t>((first + j) % 6);
      experts.push_back((t + j) % 5 == 0 || (t < 4 && expert / kExpertsOfRank == 1) ? -1 : expert);
    }
  }
  return experts;
}

TEST(CopiesForRanks, SendATokenOnceToEachRankOfItsExperts) {
  Exec exec;
  const std::vector<int32_t> values = some_experts(1);
  const Tensor experts = exec.from_host(std::span<const int32_t>(values), {kTokens, kTopk});
  const RankCopies copies =
      copies_for_ranks({.experts = experts, .experts_of_rank = kExpertsOfRank, .num_ranks = kRanks}, exec);
  const std::vector<int64_t> counts = to_vector<int64_t>(copies.counts),
                             places = to_vector<int64_t>(copies.places),
                             tokens = to_vector<int64_t>(copies.tokens);
  std::vector<std::pair<int64_t, int64_t>> expected;  // rank, token
  for (int64_t rank = 0; rank < kRanks; ++rank) {
    int64_t count = 0;
    for (int64_t t = 0; t < kTokens; ++t) {
      bool goes = false;
      for (int64_t j = 0; j < kTopk; ++j) {
        const int32_t expert = values[static_cast<size_t>(t * kTopk + j)];
        goes = goes || (expert >= 0 && expert / kExpertsOfRank == rank);
      }
      EXPECT_EQ(places[static_cast<size_t>(t * kRanks + rank)], goes ? count : -1);
      if (!goes) continue;
      EXPECT_EQ(tokens[static_cast<size_t>(rank * kTokens + count)], t);
      expected.emplace_back(rank, t);
      ++count;
    }
    EXPECT_EQ(counts[static_cast<size_t>(rank)], count);
  }

  const SentCopies sent = sent_copies(copies, experts, static_cast<int64_t>(expected.size()), exec);
  const std::vector<int64_t> from = to_vector<int64_t>(sent.tokens.from),
                             to = to_vector<int64_t>(sent.tokens.to),
                             of_copies = to_vector<int64_t>(sent.experts);
  for (size_t copy = 0; copy < expected.size(); ++copy) {
    const auto [rank, token] = expected[copy];
    EXPECT_EQ(from[copy], token);
    EXPECT_EQ(to[static_cast<size_t>(token * kRanks + rank)], static_cast<int64_t>(copy));
    for (size_t j = 0; j < kTopk; ++j)
      EXPECT_EQ(of_copies[copy * kTopk + j], values[static_cast<size_t>(token) * kTopk + j]);
  }
  EXPECT_EQ(std::count_if(to.begin(), to.end(), [](int64_t row) { return row >= 0; }),
            static_cast<int64_t>(expected.size()));
  EXPECT_THROW(sent_copies(copies, experts, static_cast<int64_t>(expected.size()) - 1, exec), Error);
}

TEST(CopiesForRanks, RefusesAnExpertOfNoRank) {
  Exec exec;
  const std::vector<int32_t> values = {5, 6};
  const Tensor experts = exec.from_host(std::span<const int32_t>(values), {1, 2});
  const auto call = [&] {
    copies_for_ranks({.experts = experts, .experts_of_rank = kExpertsOfRank, .num_ranks = kRanks}, exec);
  };
  EXPECT_THAT(call, ThrowsMessage<Error>(HasSubstr("expert 6 of 6")));
}

}  // namespace
}  // namespace megalith
