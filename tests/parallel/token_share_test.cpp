#include "megalith/parallel/context/token_share.h"

#include <algorithm>
#include <numeric>
#include <utility>

#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/core/rng.h"
#include "megalith/parallel/context/packed_context.h"
#include "megalith/parallel/context/zigzag.h"

namespace megalith {
namespace {

// The ends of `batch` rows of documents with lengths that next() gives, cut off at the rows' ends.
template <class Next>
std::vector<int32_t> packed_rows(int64_t batch, int64_t seq, Next next) {
  std::vector<int32_t> ends = {0};
  for (int64_t row = 0; row < batch; ++row) {
    int64_t used = 0;
    while (used < seq) {
      used = std::min(seq, used + next());
      ends.push_back(static_cast<int32_t>(row * seq + used));
    }
  }
  return ends;
}

auto random_lengths(uint64_t stream, int64_t longest) {
  return [stream, longest, draws = uint64_t{0}]() mutable {
    return 1 + static_cast<int64_t>(RngKey{11, stream}.bits(draws++)) % longest;
  };
}

// Pairs of a query and a key that it sees, by the rank of the query.
std::vector<double> work_by_rank(const std::vector<int32_t>& ends, const TokenShare& share) {
  std::vector<double> work(static_cast<size_t>(share.ranks()));
  for (int rank = 0; rank < share.ranks(); ++rank) {
    for (int64_t b = 0; b < share.batch; ++b) {
      for (const int32_t place : share.row(rank, b)) {
        const auto token = static_cast<int32_t>(b * share.seq + place);
        const int32_t begin = *std::prev(std::upper_bound(ends.begin(), ends.end(), token));
        work[static_cast<size_t>(rank)] += token - begin + 1;
      }
    }
  }
  return work;
}

double imbalance(const std::vector<double>& work) {
  const double sum = std::accumulate(work.begin(), work.end(), 0.0);
  return *std::max_element(work.begin(), work.end()) / sum * static_cast<double>(work.size());
}

void expect_every_token_once(const TokenShare& share) {
  for (int64_t b = 0; b < share.batch; ++b) {
    std::vector<int32_t> all;
    for (int rank = 0; rank < share.ranks(); ++rank) {
      const auto row = share.row(rank, b);
      EXPECT_TRUE(std::is_sorted(row.begin(), row.end()));
      all.insert(all.end(), row.begin(), row.end());
    }
    std::sort(all.begin(), all.end());
    std::vector<int32_t> expected(static_cast<size_t>(share.seq));
    std::iota(expected.begin(), expected.end(), 0);
    EXPECT_EQ(all, expected);
  }
}

TEST(TokenShare, ARowOfOneDocumentIsTheZigzag) {
  const TokenShare share = share_tokens(std::vector<int32_t>{0, 48, 96}, {.ranks = 3, .batch = 2, .seq = 48});
  const Zigzag zigzag{3, 48};
  for (int rank = 0; rank < 3; ++rank)
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t i = 0; i < 16; ++i)
        EXPECT_EQ(share.row(rank, b)[static_cast<size_t>(i)], zigzag.position(rank, i));
}

TEST(TokenShare, EveryTokenIsOnOneRank) {
  for (const int ranks : {1, 2, 3, 4, 6}) {
    for (uint64_t round = 0; round < 40; ++round) {
      const int64_t seq = 2 * ranks * (1 + static_cast<int64_t>(round) * 3);
      const auto ends = packed_rows(2, seq, random_lengths(round, 1 + static_cast<int64_t>(round)));
      for (const int64_t longest : {0, 1, 7, 40}) {
        const TokenShare share =
            share_tokens(ends, {.ranks = ranks, .batch = 2, .seq = seq, .max_seqlen_per_rank = longest});
        expect_every_token_once(share);
        if (ranks % 2 == 0) expect_every_token_once(merged(share, 2));
      }
    }
  }
}

// Where one document is the first half of a row, a zigzag over the row's tokens would give the last of four
// ranks 1.75 of the mean.
TEST(TokenShare, AttentionIsBalanced) {
  const int64_t seq = 4096;
  const std::vector<int32_t> halves = packed_rows(
      1, seq, [first = true]() mutable { return std::exchange(first, false) ? int64_t{2048} : int64_t{16}; });
  EXPECT_LT(imbalance(work_by_rank(halves, share_tokens(halves, {.ranks = 4, .batch = 1, .seq = seq}))),
            1.01);
  for (uint64_t round = 0; round < 10; ++round) {
    const auto ends = packed_rows(2, seq, random_lengths(round, 1500));
    const TokenShare share = share_tokens(ends, {.ranks = 4, .batch = 2, .seq = seq});
    EXPECT_LT(imbalance(work_by_rank(ends, share)), 1.02) << round;
    const TokenShare few =
        share_tokens(ends, {.ranks = 4, .batch = 2, .seq = seq, .max_seqlen_per_rank = 512});
    EXPECT_LT(imbalance(work_by_rank(ends, few)), 1.6) << round;
  }
}

TEST(TokenShare, ShortDocumentsMeetOnOneRank) {
  const std::vector<int32_t> ends = packed_rows(2, 1024, [] { return 64; });
  const auto share = [&](int64_t longest) {
    return PackedContext(
        ends, share_tokens(ends, {.ranks = 4, .batch = 2, .seq = 1024, .max_seqlen_per_rank = longest}));
  };
  const PackedContext whole = share(64), halves = share(32), all = share(0);
  for (int a = 0; a < 4; ++a) {
    int num_met = 0;
    for (int b = 0; b < 4; ++b) {
      EXPECT_EQ(whole.meets(a, b, -1), a == b);
      EXPECT_TRUE(all.meets(a, b, -1));
      num_met += halves.meets(a, b, -1) ? 1 : 0;
    }
    EXPECT_GE(num_met, 2);
  }
}

TEST(TokenShare, AWindowEndsWhoMeetsWhom) {
  const std::vector<int32_t> one = {0, 64};
  const PackedContext context(one, share_tokens(one, {.ranks = 4, .batch = 1, .seq = 64}));
  EXPECT_TRUE(context.meets(3, 0, -1));
  EXPECT_TRUE(context.meets(1, 0, 1));   // the chunk before
  EXPECT_FALSE(context.meets(3, 0, 8));  // chunks 3 and 4 to 0 and 7: two chunks of 8 lie between
  EXPECT_TRUE(context.meets(3, 0, 17));
}

TEST(TokenShare, VisibleKeysAreTheDefinition) {
  Exec exec({.num_threads = 1});
  for (uint64_t round = 0; round < 12; ++round) {
    const int ranks = 4;
    const int64_t seq = 48, batch = 2;
    const auto ends = packed_rows(batch, seq, random_lengths(round, 20));
    const int64_t window = round % 3 == 0 ? -1 : static_cast<int64_t>(round);
    const PackedContext context(ends, share_tokens(ends, {.ranks = ranks,
                                                          .batch = batch,
                                                          .seq = seq,
                                                          .max_seqlen_per_rank = round % 2 == 0 ? 0 : 8}));
    const TokenShare& share = context.share();
    for (int q = 0; q < ranks; ++q) {
      for (int k = 0; k < ranks; ++k) {
        const VisibleKeys keys = context.keys(q, k, window, exec);
        for (int64_t b = 0; b < batch; ++b) {
          for (int64_t i = 0; i < share.local_seq(); ++i) {
            const int32_t query = share.row(q, b)[static_cast<size_t>(i)];
            for (int64_t j = 0; j < share.local_seq(); ++j) {
              const int32_t key = share.row(k, b)[static_cast<size_t>(j)];
              const auto document = [&](int32_t place) {
                return std::upper_bound(ends.begin(), ends.end(), static_cast<int32_t>(b * seq + place));
              };
              const bool expected =
                  key <= query && document(key) == document(query) && (window < 0 || query - key <= window);
              const auto at = static_cast<size_t>(b * share.local_seq() + i);
              const bool sees = keys.end.defined() && j >= keys.first.data<int32_t>()[at] &&
                                j < keys.end.data<int32_t>()[at];
              ASSERT_EQ(sees, expected) << "round " << round << ": query " << query << ", key " << key;
            }
          }
        }
      }
    }
  }
}

TEST(TokenShare, OrderIsThatOfTheSequence) {
  Exec exec({.num_threads = 1});
  const auto ends = packed_rows(2, 48, random_lengths(5, 20));
  const PackedContext context(ends, share_tokens(ends, {.ranks = 4, .batch = 2, .seq = 48}));
  std::vector<float> places;  // by rank: row and place
  for (int rank = 0; rank < 4; ++rank)
    for (int64_t b = 0; b < 2; ++b)
      for (const int32_t place : context.share().row(rank, b))
        places.push_back(static_cast<float>(100 * b + place));
  const Tensor by_rank = exec.from_host(std::span<const float>(places), {4, 2, 12, 1, 1});
  const SequenceOrder order = context.order(0, 4, exec);
  const std::vector<float> sequence = to_vector<float>(order.to_sequence(by_rank, exec));
  for (size_t i = 0; i < 96; ++i) EXPECT_EQ(sequence[i], static_cast<float>(100 * (i / 48) + i % 48));
  EXPECT_EQ(to_vector<float>(order.to_ranks(order.to_sequence(by_rank, exec), exec)), places);
}

TEST(TokenShare, RefusesWhatDoesNotCoverTheRows) {
  EXPECT_THROW(share_tokens(std::vector<int32_t>{0, 10}, {.ranks = 2, .batch = 1, .seq = 12}), Error);
  EXPECT_THROW(share_tokens(std::vector<int32_t>{0, 14}, {.ranks = 2, .batch = 1, .seq = 14}), Error);
}

}  // namespace
}  // namespace megalith
