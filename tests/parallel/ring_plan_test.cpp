// Which ranks of a ring look at whose keys, against every pair of tokens.
#include "megalith/parallel/context/ring_plan.h"

#include <gtest/gtest.h>

#include "megalith/core/rng.h"

namespace megalith {
namespace {

constexpr int64_t kSeq = 48;
constexpr int64_t kWindows[] = {-1, 0, 1, 5, 13, 100};

TokenShare zigzag_share(int ranks) {
  const Zigzag zigzag{.ranks = ranks, .seq = kSeq};
  TokenShare share{.batch = 1, .seq = kSeq, .places = {}};
  for (int rank = 0; rank < ranks; ++rank) {
    std::vector<int32_t>& places = share.places.emplace_back();
    for (int64_t i = 0; i < zigzag.local_seq(); ++i)
      places.push_back(static_cast<int32_t>(zigzag.position(rank, i)));
  }
  return share;
}

// begins[t]: the first token of the document of token t.
bool sees_any(const TokenShare& share, const std::vector<int32_t>& begins, int64_t window, int query_rank,
              int key_rank) {
  for (int64_t row = 0; row < share.batch; ++row)
    for (const int32_t query : share.row(query_rank, row))
      for (const int32_t key : share.row(key_rank, row))
        if (key <= query && key >= begins[static_cast<size_t>(row * share.seq + query)] &&
            (window < 0 || query - key <= window))
          return true;
  return false;
}

void expect_plan(const TokenShare& share, const std::vector<int32_t>& begins,
                 const std::shared_ptr<const PackedContext>& packed) {
  const int n = share.ranks();
  for (const int64_t window : kWindows) {
    const AttentionOptions options{.batch = share.batch, .head_dim = 4, .window = window, .first_key = {}};
    const ContextHeads heads(options, n, 0, share.batch * share.local_seq());
    const RingPlan plan(heads, packed);
    for (int step = 0; step < n; ++step) {
      bool all_see = true;
      for (int rank = 0; rank < n; ++rank) {
        const int key_rank = (rank + n - step) % n;
        const bool sees = sees_any(share, begins, window, rank, key_rank);
        EXPECT_EQ(plan.meets(rank, key_rank), sees)
            << "rank " << rank << " of " << n << ", keys of " << key_rank << ", window " << window;
        all_see = all_see && sees;
      }
      EXPECT_EQ(plan.all_meet(step), all_see) << "step " << step << ", window " << window;
    }
  }
}

TEST(RingPlan, ZigzagRanksMeetWhereATokenSeesAnother) {
  for (const int ranks : {1, 2, 3, 4, 6})
    expect_plan(zigzag_share(ranks), std::vector<int32_t>(kSeq, 0), nullptr);
}

TEST(RingPlan, PackedRanksMeetWhereATokenSeesAnother) {
  for (const int64_t max_seqlen : {0, 6, 12}) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      constexpr int64_t kBatch = 2;
      const RngKey rng{seed, 7};
      std::vector<int32_t> cu_seqlens = {0}, begins;
      while (cu_seqlens.back() < kBatch * kSeq) {
        const auto begin = cu_seqlens.back(), in_row = begin % static_cast<int32_t>(kSeq);
        const auto wanted = static_cast<int32_t>(1 + rng.bits(cu_seqlens.size()) % 30);
        const int32_t length = std::min(wanted, static_cast<int32_t>(kSeq) - in_row);
        begins.insert(begins.end(), static_cast<size_t>(length), in_row);
        cu_seqlens.push_back(begin + length);
      }
      const TokenShare share = share_tokens(
          cu_seqlens, {.ranks = 4, .batch = kBatch, .seq = kSeq, .max_seqlen_per_rank = max_seqlen});
      expect_plan(share, begins, std::make_shared<PackedContext>(cu_seqlens, share));
    }
  }
}

}  // namespace
}  // namespace megalith
