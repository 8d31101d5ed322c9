// The maps of ranks that read each other's memory, found on one GPU that has the lists of all of them:
// against the order that ops/peer_maps.h states, row by row.
#include "megalith/ops/peer_maps.h"

#include <algorithm>
#include <array>
#include <limits>
#include <numeric>

#include <gtest/gtest.h>

#include "megalith/ops/expert_order.h"

namespace megalith {
namespace {

using Numbers = std::vector<int64_t>;

struct Case {
  const char* name;
  int64_t num_ranks, tokens, topk, num_experts;
  bool has_dropped;
  int64_t rows_per_expert, max_rows, max_copies;  // 0: as many as there are
};

std::vector<int32_t> experts_of(const Case& c, int64_t rank) {
  std::vector<int32_t> experts;
  for (int64_t t = 0; t < c.tokens; ++t) {
    const uint64_t bits = RngKey{static_cast<uint64_t>(rank) + 5, 1}.bits(static_cast<uint64_t>(t));
    for (int64_t k = 0; k < c.topk; ++k) {
      const auto expert = static_cast<int32_t>((static_cast<int64_t>(bits % 1000) + 3 * k) % c.num_experts);
      const bool is_dropped = c.has_dropped && (expert == 1 || (t + k) % 5 == 0);
      experts.push_back(is_dropped ? -1 : expert);
    }
  }
  return experts;
}

// What one rank gets: rows as {expert, sender, choice}, -1 for a choice that is padding; copies as {sender,
// token}.
struct Arrivals {
  std::vector<std::array<int64_t, 3>> rows;
  std::vector<std::array<int64_t, 2>> copies;

  int64_t copy_of(int64_t sender, int64_t token) const {
    const std::array<int64_t, 2> wanted{sender, token};
    const auto found = std::find(copies.begin(), copies.end(), wanted);
    return found == copies.end() ? -1 : found - copies.begin();
  }
};

Arrivals arrivals_at(const Case& c, int64_t owner, const std::vector<std::vector<int32_t>>& experts) {
  const int64_t held = c.num_experts / c.num_ranks;
  Arrivals all;
  for (int64_t expert = owner * held; expert < (owner + 1) * held; ++expert)
    for (int64_t sender = 0; sender < c.num_ranks; ++sender) {
      int64_t rows = 0;
      for (int64_t i = 0; i < c.tokens * c.topk; ++i) {
        if (experts[static_cast<size_t>(sender)][static_cast<size_t>(i)] != expert) continue;
        all.rows.push_back({expert, sender, i});
        ++rows;
      }
      for (; rows < c.rows_per_expert; ++rows) all.rows.push_back({expert, sender, -1});
    }
  for (int64_t sender = 0; sender < c.num_ranks; ++sender)
    for (int64_t t = 0; t < c.tokens; ++t) {
      const auto begin = experts[static_cast<size_t>(sender)].begin() + t * c.topk;
      if (std::any_of(begin, begin + c.topk, [&](int32_t e) { return e >= 0 && e / held == owner; }))
        all.copies.push_back({sender, t});
    }
  return all;
}

// Places count only where there is a peer.
void expect_map(const PeerRowMap& map, const std::vector<std::array<int64_t, 2>>& expected,
                const std::string& what) {
  const Numbers peers = to_vector<int64_t>(map.peer), places = to_vector<int64_t>(map.place);
  ASSERT_GE(peers.size(), expected.size()) << what;
  for (size_t i = 0; i < peers.size(); ++i) {
    const std::array<int64_t, 2> entry = i < expected.size() ? expected[i] : std::array<int64_t, 2>{-1, 0};
    ASSERT_EQ(peers[i], entry[0]) << what << " " << i;
    const int64_t place = entry[0] < 0 ? places[i] : entry[1];
    ASSERT_EQ(places[i], place) << what << " " << i;
  }
}

void expect_maps(const Case& c, int64_t own, const std::vector<std::vector<int32_t>>& experts,
                 const PeerMaps& maps, double dropped) {
  const int64_t held = c.num_experts / c.num_ranks, all = std::numeric_limits<int32_t>::max();
  const int64_t max_rows = c.max_rows > 0 ? c.max_rows : all,
                max_copies = c.max_rows > 0 ? c.max_copies : all;
  std::vector<Arrivals> at;
  for (int64_t rank = 0; rank < c.num_ranks; ++rank) at.push_back(arrivals_at(c, rank, experts));
  const Arrivals& here = at[static_cast<size_t>(own)];
  const auto num_rows = std::min(std::ssize(here.rows), max_rows);
  if (c.max_rows > 0) {
    EXPECT_EQ(maps.choices.peer.dim(0), c.max_rows);
    EXPECT_EQ(maps.copies.sources.peer.dim(0), c.max_copies);
  }

  Numbers offsets{0};
  for (int64_t e = own * held; e < (own + 1) * held; ++e)
    offsets.push_back(std::min<int64_t>(
        max_rows,
        std::count_if(here.rows.begin(), here.rows.end(), [&](const auto& row) { return row[0] <= e; })));
  EXPECT_EQ(to_vector<int64_t>(maps.offsets), offsets);

  const int64_t num_from = maps.copies.rows.num_from();
  std::vector<std::array<int64_t, 2>> choices, sources, way_back;
  Numbers from(static_cast<size_t>(maps.copies.rows.num_to()), RowMap::kUnused),
      to(static_cast<size_t>(num_from * c.topk), -1);
  double expected_dropped = 0;
  for (int64_t row = 0; row < std::ssize(here.rows); ++row) {
    const auto [expert, sender, choice] = here.rows[static_cast<size_t>(row)];
    const int64_t copy = choice < 0 ? -1 : here.copy_of(sender, choice / c.topk);
    if (row >= num_rows || copy >= max_copies) ++expected_dropped;
    if (row >= num_rows) continue;
    choices.push_back({choice < 0 || copy >= max_copies ? -1 : sender, choice});
    from[static_cast<size_t>(row)] = -1;
    if (choice < 0 || copy >= max_copies) continue;
    from[static_cast<size_t>(row)] = copy;
    to[static_cast<size_t>(copy * c.topk + choice % c.topk)] = row;
  }
  expect_map(maps.choices, choices, "choice of row");
  EXPECT_EQ(to_vector<int64_t>(maps.copies.rows.from), from);
  EXPECT_EQ(to_vector<int64_t>(maps.copies.rows.to), to);
  EXPECT_EQ(dropped, expected_dropped);

  for (int64_t copy = 0; copy < std::min(std::ssize(here.copies), max_copies); ++copy)
    sources.push_back(here.copies[static_cast<size_t>(copy)]);
  expect_map(maps.copies.sources, sources, "source of copy");

  const Numbers places = to_vector<int64_t>(maps.places);
  for (int64_t t = 0; t < c.tokens; ++t)
    for (int64_t rank = 0; rank < c.num_ranks; ++rank) {
      const int64_t copy = at[static_cast<size_t>(rank)].copy_of(own, t);
      ASSERT_EQ(places[static_cast<size_t>(t * c.num_ranks + rank)] >= 0, copy >= 0 && copy < max_copies)
          << "copy of token " << t << " at rank " << rank;
    }
  for (int64_t i = 0; i < c.tokens * c.topk; ++i) {
    const int64_t expert = experts[static_cast<size_t>(own)][static_cast<size_t>(i)];
    const int64_t owner = expert < 0 ? 0 : expert / held;
    const auto& rows = at[static_cast<size_t>(owner)].rows;
    const std::array<int64_t, 3> wanted{expert, own, i};
    const int64_t row = std::find(rows.begin(), rows.end(), wanted) - rows.begin();
    way_back.push_back({row == std::ssize(rows) || row >= max_rows ? -1 : owner, row});
  }
  expect_map(maps.rows_of_choices, way_back, "row of choice");
}

TEST(CudaPeerMaps, StandInTheOrderThatIsStated) {
  const Case cases[] = {{"whole", 2, 57, 3, 8, false, 0, 0, 0},
                        {"one rank", 1, 40, 2, 4, false, 0, 0, 0},
                        {"many experts", 4, 61, 8, 256, false, 0, 0, 0},
                        {"dropped", 4, 33, 3, 8, true, 0, 0, 0},
                        {"padded", 2, 20, 2, 8, true, 24, 0, 0},
                        {"padded, room for all", 2, 20, 2, 8, true, 24, 192, 40},
                        {"one token", 3, 1, 1, 3, false, 0, 0, 0},
                        {"room for all", 2, 57, 3, 8, false, 0, 400, 114},
                        {"room for most rows", 2, 57, 3, 8, false, 0, 150, 114},
                        {"room for few copies", 4, 57, 3, 8, true, 0, 171, 100},
                        {"room for little", 4, 57, 2, 8, false, 0, 9, 9}};
  for (const Case& c : cases) {
    SCOPED_TRACE(c.name);
    Exec exec({.device = {DeviceKind::kCuda, 0}, .num_threads = 1});
    std::vector<std::vector<int32_t>> experts;
    std::vector<Tensor> uploaded;
    std::vector<ExpertOrder> orders;
    std::vector<RankCopies> copies;
    std::array<std::vector<const std::byte*>, 5> lists;
    for (int64_t rank = 0; rank < c.num_ranks; ++rank) {
      experts.push_back(experts_of(c, rank));
      uploaded.push_back(exec.from_host(std::span<const int32_t>(experts.back()), {c.tokens, c.topk}));
      orders.push_back(sort_by_expert({.experts = uploaded.back(),
                                       .num_experts = c.num_experts,
                                       .rows_per_expert = c.rows_per_expert,
                                       .max_rows = c.rows_per_expert > 0 ? 0 : c.tokens * c.topk},
                                      exec));
      copies.push_back(copies_for_ranks({.experts = uploaded.back(),
                                         .experts_of_rank = c.num_experts / c.num_ranks,
                                         .num_ranks = c.num_ranks},
                                        exec));
      const Tensor own[] = {orders.back().offsets, orders.back().choices.from, copies.back().tokens,
                            copies.back().places, copies.back().counts};
      for (size_t list = 0; list < lists.size(); ++list) lists[list].push_back(own[list].raw());
    }
    for (int64_t rank = 0; rank < c.num_ranks; ++rank) {
      SCOPED_TRACE(rank);
      const Tensor dropped = exec.zeros({1}, DType::kF64);
      const PeerMaps maps = maps_from_peers({.offsets = lists[0],
                                             .choices = lists[1],
                                             .tokens = lists[2],
                                             .places = lists[3],
                                             .counts = lists[4],
                                             .experts = uploaded[static_cast<size_t>(rank)],
                                             .rows = orders[static_cast<size_t>(rank)].tokens.to,
                                             .own_rank = rank,
                                             .num_experts = c.num_experts,
                                             .max_rows = c.max_rows,
                                             .max_copies = c.max_copies,
                                             .dropped = dropped},
                                            exec);
      expect_maps(c, rank, experts, maps, to_vector<double>(dropped)[0]);
    }
  }
}

}  // namespace
}  // namespace megalith
