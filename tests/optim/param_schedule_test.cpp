// Megatron's schedules at points whose values follow from the formulas by hand.

#include "megalith/optim/param_schedule.h"

#include <cmath>

#include <gtest/gtest.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {

// 100 iterations of 4 samples: D = 400; warm-up of 10 iterations: W = 40.
OptimConfig config(const std::string& style) {
  OptimConfig c;
  c.lr = 1.0;
  c.min_lr = 0.1;
  c.lr_decay_style = style;
  c.lr_warmup_iters = 10;
  return c;
}

ParamSchedule schedule(const OptimConfig& c) {
  return ParamSchedule(c, {.train_samples = 400, .samples_per_iteration = 4});
}

TEST(ParamSchedule, WarmupStartsAtItsInitAndIncludesItsEnd) {
  OptimConfig c = config("linear");
  EXPECT_DOUBLE_EQ(schedule(c).lr(0), 0);
  EXPECT_DOUBLE_EQ(schedule(c).lr(20), 0.5);
  EXPECT_DOUBLE_EQ(schedule(c).lr(40), 1.0);
  c.lr_warmup_init = 0.2;
  EXPECT_DOUBLE_EQ(schedule(c).lr(0), 0.2);
  EXPECT_DOUBLE_EQ(schedule(c).lr(20), 0.6);
}

TEST(ParamSchedule, WarmupFraction) {
  OptimConfig c = config("linear");
  c.lr_warmup_iters = 0;
  c.lr_warmup_fraction = 0.25;
  EXPECT_DOUBLE_EQ(schedule(c).lr(50), 0.5);
}

TEST(ParamSchedule, Linear) {
  const ParamSchedule s = schedule(config("linear"));
  EXPECT_DOUBLE_EQ(s.lr(220), 0.1 + 0.5 * 0.9);
  EXPECT_DOUBLE_EQ(s.lr(400), 0.1);
  EXPECT_DOUBLE_EQ(s.lr(401), 0.1);
}

TEST(ParamSchedule, Cosine) {
  const ParamSchedule s = schedule(config("cosine"));
  EXPECT_DOUBLE_EQ(s.lr(220), 0.1 + 0.5 * 0.9);
  EXPECT_NEAR(s.lr(130), 0.1 + 0.9 * 0.5 * (1 + std::sqrt(0.5)), 1e-12);
}

TEST(ParamSchedule, ConstantIgnoresTheEnd) {
  EXPECT_DOUBLE_EQ(schedule(config("constant")).lr(1000), 1.0);
}

TEST(ParamSchedule, InverseSquareRoot) {
  const ParamSchedule s = schedule(config("inverse-square-root"));
  EXPECT_DOUBLE_EQ(s.lr(160), 0.5);
  EXPECT_DOUBLE_EQ(s.lr(401), 0.1);
  OptimConfig without_warmup = config("inverse-square-root");
  without_warmup.lr_warmup_iters = 0;
  EXPECT_DOUBLE_EQ(schedule(without_warmup).lr(0), 1.0);
  EXPECT_DOUBLE_EQ(schedule(without_warmup).lr(4), 0.5);
}

TEST(ParamSchedule, WsdIsFlatAndThenFalls) {
  OptimConfig c = config("WSD");
  c.lr_wsd_decay_iters = 25;  // 100 samples: flat up to 300
  const auto at = [&](const std::string& style, int64_t samples) {
    c.lr_wsd_decay_style = style;
    return schedule(c).lr(samples);
  };
  EXPECT_DOUBLE_EQ(at("linear", 300), 1.0);
  EXPECT_DOUBLE_EQ(at("linear", 350), 0.1 + 0.5 * 0.9);
  EXPECT_DOUBLE_EQ(at("cosine", 350), 0.1 + 0.5 * 0.9);
  EXPECT_DOUBLE_EQ(at("exponential", 400), 0.1);
  EXPECT_NEAR(at("exponential", 350), 0.1 + (2 * std::sqrt(0.5) - 1) * 0.9, 1e-12);
  EXPECT_DOUBLE_EQ(at("minus_sqrt", 325), 0.1 + 0.5 * 0.9);
  EXPECT_DOUBLE_EQ(at("minus_sqrt", 401), 0.1);
}

TEST(ParamSchedule, WeightDecayRises) {
  OptimConfig c = config("constant");
  c.weight_decay = 0.3;
  EXPECT_DOUBLE_EQ(schedule(c).weight_decay(200), 0.3);
  c.start_weight_decay = 0.1;
  c.end_weight_decay = 0.5;
  c.weight_decay_incr_style = "linear";
  EXPECT_DOUBLE_EQ(schedule(c).weight_decay(100), 0.2);
  c.weight_decay_incr_style = "cosine";
  EXPECT_DOUBLE_EQ(schedule(c).weight_decay(0), 0.1);
  EXPECT_DOUBLE_EQ(schedule(c).weight_decay(200), 0.3);
  EXPECT_DOUBLE_EQ(schedule(c).weight_decay(401), 0.5);
}

TEST(ParamSchedule, RefusesAWarmupAsLongAsTheDecay) {
  OptimConfig c = config("linear");
  c.lr_warmup_iters = 100;
  EXPECT_THROW(schedule(c), UsageError);
}

TEST(OptimConfig, NamesWhatExcludesEachOther) {
  OptimConfig c = config("WSD");
  EXPECT_THROW(validate(c), UsageError);
  c = config("linear");
  c.min_lr = 2;
  EXPECT_THROW(validate(c), UsageError);
  c = config("linear");
  c.lr_warmup_fraction = 0.1;
  EXPECT_THROW(validate(c), UsageError);
}

}  // namespace
}  // namespace megalith
