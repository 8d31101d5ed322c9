// Schedules in which a forward and a backward run together.
#include <algorithm>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/parallel/pipeline/simulate.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr ScheduleKind kPairing[] = {ScheduleKind::k1F1B, ScheduleKind::kInterleaved,
                                     ScheduleKind::kDualPipeV};

Schedule make_paired(ScheduleKind kind, int p, int m, int v = 0) {
  return make_schedule(
      {.kind = kind, .num_ranks = p, .num_microbatches = m, .num_chunks = v, .makes_pairs = true});
}

int num_pairs(const std::vector<Action>& order) {
  return static_cast<int>(
      std::count_if(order.begin(), order.end(), [](const Action& action) { return action.is_paired; }));
}

TEST(PairedSchedule, EveryKindIsCompleteAndFreeOfDeadlock) {
  for (const ScheduleKind kind : kPairing) {
    const bool is_interleaved = kind == ScheduleKind::kInterleaved;
    for (int p = 1; p <= 8; ++p) {
      for (int m = 1; m <= 4 * p + 3; ++m) {
        if (is_interleaved && m % p != 0) continue;
        for (int v = is_interleaved ? 2 : 0; v <= (is_interleaved ? 4 : 0); ++v)
          EXPECT_NO_THROW(validate(make_paired(kind, p, m, v))) << name_of(kind) << " " << p << " " << m;
      }
    }
  }
}

TEST(PairedSchedule, UnequalGroupsOfMicrobatchesAreValid) {
  for (int m = 4; m <= 20; ++m)
    for (int group = 4; group <= m; ++group)
      if (m % group == 0 || m % group >= 4) {
        EXPECT_NO_THROW(validate(make_schedule({.kind = ScheduleKind::kInterleaved,
                                                .num_ranks = 4,
                                                .num_microbatches = m,
                                                .num_chunks = 3,
                                                .microbatch_group_size = group,
                                                .makes_pairs = true})))
            << m << " in groups of " << group;
      }
}

TEST(PairedSchedule, OneRankPairsEachForwardWithTheBackwardBefore) {
  std::string text;
  const Schedule schedule = make_paired(ScheduleKind::k1F1B, 1, 4);
  for (const Action& action : schedule.ranks[0])
    text += fmt::format("{}{}{}", action.kind == ActionKind::kForward ? 'F' : 'B', action.microbatch,
                        action.is_paired ? '+' : ' ');
  EXPECT_EQ(text, "F0 F1+B0 F2+B1 F3+B2 B3 ");
}

// A pair needs its input and its gradient from pairs that are done, so rank r begins with 2(p-r-1) + 1
// forwards; from then on each microbatch more costs every rank one pair.
TEST(PairedSchedule, TheSteadyPhaseOf1F1BDoesNotWait) {
  const ActionCosts costs{
      .forward = 4, .backward_input = 5, .backward_weight = 3, .transfer = 0, .stage_work = {}};
  for (const int p : {1, 2, 3, 4, 8}) {
    const int m = 4 * p;
    const Timeline one = simulate(make_paired(ScheduleKind::k1F1B, p, m), costs);
    const Timeline more = simulate(make_paired(ScheduleKind::k1F1B, p, m + 1), costs);
    EXPECT_NEAR(more.duration - one.duration, 12, 1e-9) << p;
    for (int r = 0; r < p; ++r) EXPECT_EQ(one.peak_in_flight[r], 2 * (p - r) - 1) << p << " " << r;
  }
}

TEST(PairedSchedule, MostOfAScheduleIsPairs) {
  for (const int p : {2, 4}) {
    const int m = 8 * p;
    for (int r = 0; r < p; ++r) {
      EXPECT_EQ(num_pairs(make_paired(ScheduleKind::k1F1B, p, m).ranks[r]), m - 2 * (p - r - 1) - 1);
      EXPECT_EQ(num_pairs(make_paired(ScheduleKind::kInterleaved, p, m, 2).ranks[r]),
                2 * m - 2 * (p - r - 1) - p - 1);
      // DualPipeV's order is that without pairs, with 2 (m - 2p + r + 1) + p - r - 1 of them.
      EXPECT_EQ(num_pairs(make_paired(ScheduleKind::kDualPipeV, p, m).ranks[r]),
                2 * (m - 2 * p + r + 1) + p - r - 1);
    }
  }
}

TEST(PairedSchedule, WhatPairsSaveShortensTheStep) {
  ActionCosts costs{.forward = 4, .backward_input = 5, .backward_weight = 3, .transfer = 0, .stage_work = {}};
  const Schedule schedule = make_paired(ScheduleKind::k1F1B, 1, 6);
  EXPECT_NEAR(simulate(schedule, costs).duration, 6 * 12, 1e-9);
  costs.saved_by_pair = 2;
  EXPECT_NEAR(simulate(schedule, costs).duration, 6 * 12 - 5 * 2, 1e-9);
}

TEST(PairedSchedule, WhatMakesNoPairIsRefused) {
  for (const ScheduleKind kind : {ScheduleKind::kGPipe, ScheduleKind::kZbH1, ScheduleKind::kZbV}) {
    EXPECT_FALSE(pairs_passes(kind));
    EXPECT_THAT([&] { make_paired(kind, 2, 4); }, ThrowsMessage<UsageError>(HasSubstr("has no pairs")));
  }
  Schedule schedule = make_schedule({.num_ranks = 1, .num_microbatches = 2});
  schedule.ranks[0][0].is_paired = true;  // its own backward needs it
  EXPECT_THAT([&] { validate(schedule); },
              ThrowsMessage<Error>(HasSubstr("no backward of another microbatch follows")));
  // A message between the two would be waited for in the middle of a pair.
  Schedule split = make_paired(ScheduleKind::k1F1B, 2, 6);
  for (std::vector<Action>& order : split.ranks)
    for (size_t i = 0; i + 2 < order.size(); ++i)
      if (order[i].is_paired && order[i + 2].is_send()) {
        std::swap(order[i + 1], order[i + 2]);
        break;
      }
  EXPECT_THAT([&] { validate(split); }, ThrowsMessage<Error>(HasSubstr("to make a pair")));
}

}  // namespace
}  // namespace megalith
