// Rows that travel between ranks, with the memory of all of them on one GPU: the bits of permute_rows and
// combine_rows over one tensor.
#include "megalith/ops/peer_transfers.h"

#include <gtest/gtest.h>

#include "megalith/ops/elementwise.h"

#include "tests/cuda/gpu_values.h"

namespace megalith {
namespace {

using namespace conformance;

struct Case {
  DType dtype;
  int64_t cols, topk;
};
// Rows in one piece and in several, of different lengths; rows that the copy engine cannot carry; more
// choices than a warp has lanes.
constexpr Case kCases[] = {{DType::kBF16, 256, 3},  {DType::kBF16, 8200, 4}, {DType::kF32, 37, 2},
                           {DType::kF32, 2052, 40}, {DType::kF64, 8, 1},     {DType::kBF16, 4, 2}};
constexpr int64_t kRanks = 3, kTokens = 131, kOwn = 1;

Tensor numbers_on(Exec& exec, const std::vector<int32_t>& numbers, const Shape& shape) {
  return exec.from_host(std::span<const int32_t>(numbers), shape);
}

// Two thirds of every rank's tokens come to this one, most as several rows, some as none; rows of no copy and
// places behind the copies stand in between.
struct Routed {
  explicit Routed(int64_t topk, Exec& exec) {
    std::vector<int32_t> peer, place, to;
    const auto draw = [&](uint64_t limit) { return RngKey{5, 1}.bits(draws++) % limit; };
    int32_t rows = 0;
    for (int64_t rank = 0; rank < kRanks; ++rank) {
      for (int64_t t = 0; t < kTokens; ++t) {
        if (draw(3) == 0) continue;
        peer.push_back(draw(9) == 0 ? -1 : static_cast<int32_t>(rank));
        place.push_back(static_cast<int32_t>(t));
        for (int64_t k = 0; k < topk; ++k)
          to.push_back(peer.back() < 0 || draw(3) == 0 ? -1 : (rows += draw(4) == 0 ? 2 : 1) - 1);
      }
    }
    num_rows = rows + 5;
    num_copies = static_cast<int64_t>(peer.size());
    std::vector<int32_t> from(static_cast<size_t>(num_rows), -1), all(peer.size(), -1);
    for (size_t i = 0; i < to.size(); ++i)
      if (to[i] >= 0) from[static_cast<size_t>(to[i])] = static_cast<int32_t>(i) / static_cast<int32_t>(topk);
    for (size_t n = 0; n < peer.size(); ++n)
      if (peer[n] >= 0) all[n] = peer[n] * static_cast<int32_t>(kTokens) + place[n];
    copies = {
        .sources = {.peer = numbers_on(exec, peer, {num_copies, 1}),
                    .place = numbers_on(exec, place, {num_copies, 1})},
        .rows = {.from = numbers_on(exec, from, {num_rows}), .to = numbers_on(exec, to, {num_copies, topk})}};
    // Of the ranks' tokens as one tensor, each of which is at most one copy.
    std::vector<int32_t> copy_of(static_cast<size_t>(kRanks * kTokens), -1);
    for (size_t n = 0; n < all.size(); ++n)
      if (all[n] >= 0) copy_of[static_cast<size_t>(all[n])] = static_cast<int32_t>(n);
    tokens = {.from = numbers_on(exec, all, {num_copies}),
              .to = numbers_on(exec, copy_of, {kRanks * kTokens, 1})};
  }
  uint64_t draws = 0;
  int64_t num_rows = 0, num_copies = 0;
  PeerCopies copies;
  RowMap tokens;
};

std::vector<const std::byte*> places_of(const Tensor& all) {
  std::vector<const std::byte*> places;
  for (int64_t rank = 0; rank < kRanks; ++rank) places.push_back(all.slice(0, rank, rank + 1).raw());
  return places;
}

TEST(CudaPeerTransfers, SpreadACopyOverItsRows) {
  Exec exec({.device = {DeviceKind::kCuda, 0}});
  for (const Case& c : kCases) {
    SCOPED_TRACE(fmt::format("{} {} columns, top-{}", name_of(c.dtype), c.cols, c.topk));
    const Routed routed(c.topk, exec);
    const Tensor x = random_on(exec, {kRanks, kTokens, c.cols}, c.dtype, 3);
    const Tensor copies = exec.empty({routed.num_copies, c.cols}, c.dtype);
    permute_rows(x.view({kRanks * kTokens, c.cols}), routed.tokens, copies, exec);
    const Tensor expected = exec.empty({routed.num_rows, c.cols}, c.dtype);
    permute_rows(copies, routed.copies.rows, expected, exec);

    // With a row before and one behind that nobody may touch.
    const Tensor around = exec.empty({routed.num_rows + 2, c.cols}, c.dtype);
    fill(around, 7, exec);
    const Tensor out = around.slice(0, 1, routed.num_rows + 1);
    const std::vector<const std::byte*> sources = places_of(x);
    spread_peer_rows({.sources = sources, .copies = routed.copies, .out = out}, exec);
    expect_same_bits(out, expected, "rows");
    const Tensor untouched = exec.empty({1, c.cols}, c.dtype);
    fill(untouched, 7, exec);
    expect_same_bits(around.slice(0, 0, 1), untouched, "row before");
    expect_same_bits(around.slice(0, routed.num_rows + 1, routed.num_rows + 2), untouched, "row behind");
  }
}

TEST(CudaPeerTransfers, SumRowsAtTheOwner) {
  Exec exec({.device = {DeviceKind::kCuda, 0}});
  for (const Case& c : kCases) {
    SCOPED_TRACE(fmt::format("{} {} columns, top-{}", name_of(c.dtype), c.cols, c.topk));
    const Routed routed(c.topk, exec);
    const Tensor rows = random_on(exec, {routed.num_rows, c.cols}, c.dtype, 4);
    const Tensor sums = exec.empty({routed.num_copies, c.cols}, c.dtype);
    combine_rows(rows, routed.copies.rows, sums, exec);
    const Tensor expected = exec.empty({kRanks, kTokens, c.cols}, c.dtype);
    combine_rows(sums, routed.tokens, expected.view({kRanks * kTokens, c.cols}), exec);

    // [rank, its slots for the sums of each rank]
    const Tensor slots = exec.zeros({kRanks, kRanks * kTokens, c.cols}, c.dtype);
    const std::vector<const std::byte*> places = places_of(slots);
    send_row_sums(
        {.rows = rows, .copies = routed.copies, .slots = places, .own_rank = kOwn, .num_tokens = kTokens},
        exec);
    for (int64_t rank = 0; rank < kRanks; ++rank) {
      const Tensor of_rank = slots.slice(0, rank, rank + 1).view({kRanks, kTokens, c.cols});
      for (int64_t from = 0; from < kRanks; ++from) {
        const Tensor nothing = exec.zeros({1, kTokens, c.cols}, c.dtype);
        expect_same_bits(of_rank.slice(0, from, from + 1),
                         from == kOwn ? expected.slice(0, rank, rank + 1) : nothing, "slots");
      }
    }
  }
}

TEST(CudaPeerTransfers, AddTheSumsOfTheRanksThatATokenGoesTo) {
  Exec exec({.device = {DeviceKind::kCuda, 0}});
  for (const Case& c : kCases) {
    SCOPED_TRACE(fmt::format("{} {} columns", name_of(c.dtype), c.cols));
    const Tensor slots = random_on(exec, {kRanks, kTokens, c.cols}, c.dtype, 5);
    std::vector<int32_t> places, to, from(static_cast<size_t>(kRanks * kTokens), -1);
    for (int64_t t = 0; t < kTokens; ++t) {
      for (int64_t rank = 0; rank < kRanks; ++rank) {
        const bool goes = t != 9 && (t + rank) % 3 != 0;
        places.push_back(goes ? static_cast<int32_t>(t / 2) : -1);
        to.push_back(goes ? static_cast<int32_t>(rank * kTokens + t) : -1);
        if (goes) from[static_cast<size_t>(to.back())] = static_cast<int32_t>(t);
      }
    }
    const Tensor expected = exec.empty({kTokens, c.cols}, c.dtype),
                 out = exec.empty({kTokens, c.cols}, c.dtype);
    combine_rows(
        slots.view({kRanks * kTokens, c.cols}),
        {.from = numbers_on(exec, from, {kRanks * kTokens}), .to = numbers_on(exec, to, {kTokens, kRanks})},
        expected, exec);
    fill(out, 7, exec);
    add_row_sums(slots, numbers_on(exec, places, {kTokens, kRanks}), out, exec);
    expect_same_bits(out, expected, "sums");
  }
}

}  // namespace
}  // namespace megalith
