#include <algorithm>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/parallel/pipeline/make_schedule.h"
#include "megalith/parallel/pipeline/simulate.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;
using testing::Le;
using testing::ThrowsMessage;

Schedule make(ScheduleKind kind, int p, int m, int v = 0) {
  return make_schedule({.kind = kind, .num_ranks = p, .num_microbatches = m, .num_chunks = v});
}

// Forward, input and weight gradients take different times; W <= F, I, as in a transformer.
ActionCosts unequal_costs() {
  return {.forward = 4, .backward_input = 6, .backward_weight = 3};
}

double work(const ActionCosts& costs, int m) {
  return m * (costs.forward + costs.backward_input + costs.backward_weight);
}

TEST(Schedule, EveryKindIsCompleteAndFreeOfDeadlock) {
  for (const std::string& name : schedule_names()) {
    const ScheduleKind kind = parse_schedule_kind(name);
    EXPECT_EQ(name_of(kind), name);
    for (int p = 1; p <= 9; ++p) {
      for (int m = 1; m <= 4 * p + 3; ++m) {
        const bool is_divisible = m >= p && (m % p == 0);
        if (kind == ScheduleKind::kInterleaved && !is_divisible) continue;
        for (int v = kind == ScheduleKind::kInterleaved ? 2 : 0; v <= 4; ++v) {
          EXPECT_NO_THROW(validate(make(kind, p, m, v))) << name << " p" << p << " m" << m << " v" << v;
          if (kind != ScheduleKind::kInterleaved) break;
        }
      }
    }
  }
}

TEST(Schedule, LargePipelinesAreMadeInSeconds) {
  EXPECT_NO_THROW(validate(make(ScheduleKind::kZbV, 128, 512)));
  EXPECT_NO_THROW(validate(make(ScheduleKind::kInterleaved, 64, 512, 8)));
}

TEST(Schedule, GPipeAnd1F1BHaveTheBubbleOfTheirFormula) {
  for (const ActionCosts& costs : {ActionCosts{}, unequal_costs()}) {
    for (const int p : {1, 2, 3, 4, 8}) {
      for (const int m : {p, p + 1, 2 * p, 5 * p}) {
        const double formula = static_cast<double>(p - 1) / (m + p - 1);
        const Timeline gpipe = simulate(make(ScheduleKind::kGPipe, p, m), costs);
        EXPECT_NEAR(gpipe.bubble_fraction, formula, 1e-12);
        EXPECT_THAT(gpipe.peak_in_flight, Each(m));
        const Timeline one = simulate(make(ScheduleKind::k1F1B, p, m), costs);
        EXPECT_NEAR(one.bubble_fraction, formula, 1e-12) << p << " " << m;
        for (int r = 0; r < p; ++r) EXPECT_EQ(one.peak_in_flight[r], std::min(m, p - r));
      }
    }
  }
}

TEST(Schedule, InterleavingDividesTheBubbleByTheNumberOfChunks) {
  for (const ActionCosts& costs : {ActionCosts{}, unequal_costs()}) {
    for (const int p : {2, 3, 4, 8}) {
      for (const int v : {2, 3, 4}) {
        for (const int m : {p, 2 * p, 5 * p}) {
          const Timeline timeline = simulate(make(ScheduleKind::kInterleaved, p, m, v), costs);
          EXPECT_NEAR(timeline.bubble_fraction, static_cast<double>(p - 1) / (v * m + p - 1), 1e-12)
              << p << " " << v << " " << m;
          for (int r = 0; r < p; ++r)
            EXPECT_EQ(timeline.peak_in_flight[r], std::min(v * m, 2 * (p - r - 1) + (v - 1) * p + 1));
        }
      }
    }
  }
}

// Megatron's table for 2 ranks, 2 chunks, 4 microbatches in groups of 2: rank 0 warms up with
// 2 (2 - 0 - 1) + (2 - 1) 2 = 4 forwards.
TEST(Schedule, InterleavedHasMegatronsOrder) {
  std::string text;
  const Schedule schedule = make(ScheduleKind::kInterleaved, 2, 4, 2);
  for (const Action& action : schedule.ranks[0])
    if (action.is_compute())
      text += fmt::format("{}{}.{} ", action.kind == ActionKind::kForward ? 'F' : 'B', action.microbatch,
                          action.chunk);
  EXPECT_EQ(text, "F0.0 F1.0 F0.1 F1.1 F2.0 B0.1 F3.0 B1.1 F2.1 B0.0 F3.1 B1.0 B2.1 B3.1 B2.0 B3.0 ");
}

TEST(Schedule, LargerAndUnequalGroupsOfMicrobatchesAreValid) {
  for (const int v : {2, 3}) {
    for (int m = 4; m <= 20; ++m) {
      for (int group = 4; group <= m; ++group) {
        const auto attempt = [&] {
          validate(make_schedule({.kind = ScheduleKind::kInterleaved,
                                  .num_ranks = 4,
                                  .num_microbatches = m,
                                  .num_chunks = v,
                                  .microbatch_group_size = group}));
        };
        if (m % group == 0 || m % group >= 4)
          EXPECT_NO_THROW(attempt()) << m << " in groups of " << group;
        else
          EXPECT_THROW(attempt(), UsageError) << m << " in groups of " << group;
      }
    }
  }
}

TEST(Schedule, ZeroBubbleH1IdlesForForwardPlusInputMinusWeight) {
  for (const ActionCosts& costs : {ActionCosts{}, unequal_costs()}) {
    for (const int p : {2, 3, 4, 8}) {
      for (const int m : {p, 2 * p, 5 * p}) {
        const Timeline timeline = simulate(make(ScheduleKind::kZbH1, p, m), costs);
        EXPECT_NEAR(timeline.duration - work(costs, m),
                    (p - 1) * (costs.forward + costs.backward_input - costs.backward_weight), 1e-9);
        EXPECT_THAT(timeline.peak_in_flight, Each(Le(p)));
        EXPECT_LT(timeline.bubble_fraction, simulate(make(ScheduleKind::k1F1B, p, m), costs).bubble_fraction);
      }
    }
  }
}

TEST(Schedule, ZeroBubbleVIdlesOnlyAtItsEnds) {
  for (const int p : {1, 2, 3, 4, 8}) {
    for (const int m : {2 * p, 3 * p, 6 * p}) {
      const Timeline timeline = simulate(make(ScheduleKind::kZbV, p, m), {});
      // A chunk takes 1/2; the last rank starts p - 1 chunks after the first.
      EXPECT_NEAR(timeline.duration - work({}, m), 0.5 * (p - 1), 1e-9);
      EXPECT_THAT(timeline.peak_in_flight, Each(Le(2 * p)));
    }
  }
}

TEST(Schedule, DualPipeVKeepsWithinItsBubbleAndMemory) {
  for (const ActionCosts& costs : {ActionCosts{}, unequal_costs()}) {
    const double f = costs.forward / 2;
    const double w = costs.backward_weight / 2;
    const double b = costs.backward_input / 2 + w;
    for (const int p : {2, 3, 4, 8}) {
      for (const int m : {2 * p, 3 * p, 6 * p}) {
        const Timeline timeline = simulate(make(ScheduleKind::kDualPipeV, p, m), costs);
        // DeepSeek's (PP/2 - 1)(F&B + B - 3W) with PP = 2p stages, where a pair ends as one; here the
        // forward of a pair is passed on before its backward.
        EXPECT_LE(timeline.duration - work(costs, m), (p - 1) * (f + b + b - 3 * w) + 1e-9);
        EXPECT_GT(timeline.bubble_fraction, 0);
        EXPECT_THAT(timeline.peak_in_flight, Each(Le(2 * p + 1)));
      }
    }
  }
}

TEST(Schedule, VeeStagesTurnOnTheLastRank) {
  const Schedule schedule = make(ScheduleKind::kZbV, 4, 8);
  EXPECT_EQ(schedule.stage_of(0, 1), 7);
  EXPECT_EQ(schedule.stage_of(3, 0), 3);
  EXPECT_EQ(schedule.stage_of(3, 1), 4);
  for (int stage = 0; stage < 8; ++stage)
    EXPECT_EQ(schedule.stage_of(schedule.rank_of(stage), schedule.chunk_of(stage)), stage);
  // Nothing is sent between stages 3 and 4, which share a rank.
  for (const Action& action : schedule.ranks[3]) {
    if (action.is_send()) {
      EXPECT_THAT(action.peer_stage, testing::AnyOf(2, 5));
    }
  }
}

TEST(Schedule, TransfersTakeTimeAndUnevenStagesSetThePace) {
  const Schedule schedule = make(ScheduleKind::k1F1B, 2, 8);
  ActionCosts costs;
  const double plain = simulate(schedule, costs).duration;
  costs.transfer = 0.5;
  EXPECT_GT(simulate(schedule, costs).duration, plain);
  costs.transfer = 0;
  costs.stage_work = {0.5, 1.5};
  const Timeline uneven = simulate(schedule, costs);
  // The second rank works all the time but for the first forward and the last backward of the first.
  EXPECT_NEAR(uneven.duration, 8 * 3 * 1.5 + 3 * 0.5, 1e-12);
  EXPECT_NEAR(uneven.busy[1], 8 * 3 * 1.5, 1e-12);
}

TEST(Schedule, FaultsAreNamed) {
  const auto error_of = [](const Schedule& schedule) {
    try {
      validate(schedule);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string();
  };
  const Schedule good = make(ScheduleKind::kZbH1, 2, 4);
  ASSERT_EQ(error_of(good), "");
  Schedule bad = good;
  bad.ranks[1].pop_back();
  EXPECT_THAT(error_of(bad), HasSubstr("stage 1 leaves out the weight gradients of microbatch 3"));
  bad = good;
  std::reverse(bad.ranks[0].begin(), bad.ranks[0].end());
  EXPECT_THAT(error_of(bad), HasSubstr("rank 0, action 0: backward_weight of microbatch 3 in chunk 0: "
                                       "backward_input comes first"));
  bad = good;
  bad.ranks[0].insert(bad.ranks[0].begin(), bad.ranks[0][0]);
  EXPECT_THAT(error_of(bad),
              HasSubstr("rank 0, action 1: forward of microbatch 0 in chunk 0: it was done before"));
  bad = good;
  bad.ranks[0].erase(bad.ranks[0].begin() + 1);  // the first send
  EXPECT_THAT(error_of(bad), HasSubstr("rank 1, action 0"));
  bad = make(ScheduleKind::k1F1B, 2, 4);
  bad.ranks[0] = make(ScheduleKind::k1F1B, 1, 4).ranks[0];
  EXPECT_THAT(error_of(bad),
              HasSubstr("rank 0, action 1: backward of microbatch 0 in chunk 0: its gradient"));
}

// Any two actions swapped, or one changed, is either still valid (and then still complete) or an Error.
TEST(Schedule, RandomChangesAreRefusedOrHarmless) {
  std::mt19937 random(7);
  int num_refused = 0;
  for (int round = 0; round < 3000; ++round) {
    const auto names = schedule_names();
    Schedule schedule = make(parse_schedule_kind(names[random() % names.size()]), 3, 6);
    std::vector<Action>& order = schedule.ranks[random() % 3];
    Action& action = order[random() % order.size()];
    switch (random() % 4) {
      case 0:
        std::swap(action, order[random() % order.size()]);
        break;
      case 1:
        action.microbatch = static_cast<int>(random() % 8) - 1;
        break;
      case 2:
        action.kind = static_cast<ActionKind>(random() % 8);
        break;
      default:
        action.peer_stage = static_cast<int>(random() % 8) - 1;
    }
    try {
      const Timeline timeline = simulate(schedule, {});
      double busy = 0;
      for (const double time : timeline.busy) busy += time;
      // A compute action's peer is nobody's business, and two neighbours may change places.
      EXPECT_NEAR(busy, 3 * work({}, 6), 1e-9);
    } catch (const Error&) {
      ++num_refused;
    }
  }
  EXPECT_GT(num_refused, 1500);
}

TEST(Schedule, OptionsThatDoNotFitAreRefused) {
  EXPECT_THAT([] { parse_schedule_kind("2f2b"); },
              ThrowsMessage<UsageError>(AllOf(HasSubstr("'2f2b'"), HasSubstr("gpipe, 1f1b, interleaved"))));
  EXPECT_THAT([] { make(ScheduleKind::k1F1B, 0, 4); }, ThrowsMessage<UsageError>(HasSubstr("not 0 and 4")));
  EXPECT_THAT([] { make(ScheduleKind::k1F1B, 2, 4, 2); },
              ThrowsMessage<UsageError>(HasSubstr("1f1b takes 1 model chunks a rank, not 2")));
  EXPECT_THAT([] { make(ScheduleKind::kInterleaved, 2, 4, 1); },
              ThrowsMessage<UsageError>(HasSubstr("takes 2 or more model chunks a rank, not 1")));
  EXPECT_THAT([] { make(ScheduleKind::kInterleaved, 4, 6); },
              ThrowsMessage<UsageError>(HasSubstr("the last group of 2 is smaller than the 4")));
  EXPECT_THAT([] { make(ScheduleKind::kInterleaved, 4, 3); },
              ThrowsMessage<UsageError>(HasSubstr("3 microbatches, 4 ranks")));
  EXPECT_THAT([] { make_schedule({.num_ranks = 2, .num_microbatches = 4, .microbatch_group_size = 2}); },
              ThrowsMessage<UsageError>(HasSubstr("belong to the interleaved schedule, not to 1f1b")));
}

}  // namespace
}  // namespace megalith
