// A rank's experts with room for a share of the rows: what finds none counts for nothing, as if its token had
// not chosen the expert.
#include <algorithm>
#include <array>
#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/autograd/functions/weighted_activation.h"
#include "megalith/comm/run_ranks.h"
#include "megalith/parallel/expert/token_dispatcher.h"

namespace megalith {
namespace {

using ::testing::HasSubstr;
using ::testing::ThrowsMessage;

constexpr int64_t kTokens = 23, kHidden = 6, kTopk = 3, kExperts = 8;

double random_at(uint64_t seed, int64_t i) {
  return static_cast<double>(RngKey{seed, 3}.bits(static_cast<uint64_t>(i)) % 2001) / 1000 - 1;
}

Tensor random_on(Exec& exec, int rank, const Shape& shape, uint64_t seed) {
  std::vector<double> values;
  for (int64_t i = 0; i < shape.numel(); ++i)
    values.push_back(random_at(seed + 10 * static_cast<uint64_t>(rank), i));
  return exec.from_host(std::span<const double>(values), shape);
}

// Different experts of each token, of the first ranks more often than of the last.
std::vector<int32_t> experts_of(int rank) {
  std::vector<int32_t> experts;
  for (int64_t t = 0; t < kTokens; ++t) {
    const auto first = static_cast<int64_t>(1.8 * (random_at(90 + static_cast<uint64_t>(rank), t) + 1));
    for (int64_t k = 0; k < kTopk; ++k) experts.push_back(static_cast<int32_t>((first + k) % kExperts));
  }
  return experts;
}

// What finds no room, from the words of the interface: rows of a rank stand by expert, sender and token,
// copies by sender and token.
std::vector<std::vector<int32_t>> without_dropped(const std::vector<std::vector<int32_t>>& experts,
                                                  int64_t max_rows, int64_t max_copies,
                                                  std::vector<int64_t>& dropped) {
  const auto num_ranks = static_cast<int64_t>(experts.size()), held = kExperts / num_ranks;
  std::vector<std::vector<int32_t>> kept = experts;
  for (int64_t owner = 0; owner < num_ranks; ++owner) {
    std::vector<std::array<int64_t, 3>> rows;  // expert, sender, choice
    int64_t copies = 0;
    std::vector<std::vector<int64_t>> copy_of(static_cast<size_t>(num_ranks));
    for (int64_t sender = 0; sender < num_ranks; ++sender) {
      const std::vector<int32_t>& of_sender = experts[static_cast<size_t>(sender)];
      for (int64_t t = 0; t < kTokens; ++t) {
        bool goes = false;
        for (int64_t i = t * kTopk; i < (t + 1) * kTopk; ++i) {
          if (of_sender[static_cast<size_t>(i)] / held != owner) continue;
          rows.push_back({of_sender[static_cast<size_t>(i)], sender, i});
          goes = true;
        }
        copy_of[static_cast<size_t>(sender)].push_back(copies);
        copies += goes ? 1 : 0;
      }
    }
    std::sort(rows.begin(), rows.end());
    for (size_t row = 0; row < rows.size(); ++row) {
      const auto [expert, sender, i] = rows[row];
      const int64_t copy = copy_of[static_cast<size_t>(sender)][static_cast<size_t>(i / kTopk)];
      if (static_cast<int64_t>(row) < max_rows && copy < max_copies) continue;
      kept[static_cast<size_t>(sender)][static_cast<size_t>(i)] = -1;
      ++dropped[static_cast<size_t>(owner)];
    }
  }
  return kept;
}

// Combined rows and the gradients of rows and weights; what was dropped here.
std::vector<std::vector<double>> run(Communicator& comm, const std::vector<int32_t>& experts, double factor,
                                     bool has_dropped, double* dropped = nullptr) {
  Exec exec;
  const Mesh mesh(comm, ParallelConfig{.expert_model_parallel_size = comm.size()});
  const TokenDispatcher dispatcher(DispatcherKind::kAllToAll, kExperts, mesh);
  Tape tape(exec);
  const Var x = tape.leaf(random_on(exec, comm.rank(), {kTokens, kHidden}, 1));
  const Var probs = tape.leaf(random_on(exec, comm.rank(), {kTokens, kTopk}, 2));
  const Tensor counter = exec.zeros({1}, DType::kF64);
  const DispatchedTokens sent =
      dispatcher.dispatch(tape, x,
                          {.probs = probs,
                           .experts = exec.from_host(std::span<const int32_t>(experts), {kTokens, kTopk}),
                           .has_dropped = has_dropped,
                           .rank_capacity_factor = factor,
                           .dropped = counter});
  const Var y = weighted_activation(tape, sent.x, sent.probs, ActivationKind::kSilu);
  const Var combined = dispatcher.combine(tape, y, sent.plan);
  tape.backward(combined, random_on(exec, comm.rank(), {kTokens, kHidden}, 4));
  if (dropped != nullptr) *dropped = to_vector<double>(counter)[0];
  return {to_vector<double>(combined.data), to_vector<double>(tape.gradient(x)),
          to_vector<double>(tape.gradient(probs))};
}

TEST(RankCapacity, DroppedChoicesCountForNothing) {
  for (const int num_ranks : {1, 2, 4}) {
    std::vector<std::vector<int32_t>> experts;
    for (int rank = 0; rank < num_ranks; ++rank) experts.push_back(experts_of(rank));
    for (const double factor : {1.0, 1.3, 4.0}) {
      const int64_t even = kTokens * kTopk;
      const int64_t max_rows =
          std::min(static_cast<int64_t>(std::ceil(static_cast<double>(even) * factor)), even * num_ranks);
      std::vector<int64_t> dropped(static_cast<size_t>(num_ranks));
      const auto kept = without_dropped(experts, max_rows, std::min(kTokens * num_ranks, max_rows), dropped);
      EXPECT_EQ(*std::max_element(dropped.begin(), dropped.end()) > 0, num_ranks > 1 && factor < 2)
          << num_ranks << " ranks, factor " << factor;
      run_ranks({.num_ranks = num_ranks}, [&](Communicator& comm) {
        const auto rank = static_cast<size_t>(comm.rank());
        double counted = 0;
        const auto bounded = run(comm, experts[rank], factor, false, &counted);
        EXPECT_EQ(counted, static_cast<double>(dropped[rank])) << "rank " << rank;
        EXPECT_EQ(bounded, run(comm, kept[rank], 0, true)) << "rank " << rank << ", factor " << factor;
        EXPECT_EQ(bounded, run(comm, experts[rank], factor, true)) << "rank " << rank;
      });
    }
  }
}

TEST(RankCapacity, RefusesLessRoomThanAnEvenLoadNeeds) {
  run_ranks({.num_ranks = 1}, [](Communicator& comm) {
    EXPECT_THAT([&] { run(comm, experts_of(0), 0.5, false); }, ThrowsMessage<Error>(HasSubstr("at least 1")));
  });
}

}  // namespace
}  // namespace megalith
