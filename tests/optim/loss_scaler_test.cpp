#include "megalith/optim/loss_scaler.h"

#include <gtest/gtest.h>

namespace megalith {
namespace {

OptimConfig dynamic_config() {
  OptimConfig c;
  c.initial_loss_scale = 1024;
  c.min_loss_scale = 64;
  c.loss_scale_window = 3;
  c.hysteresis = 2;
  return c;
}

void update(LossScaler& scaler, int steps, bool overflowed) {
  for (int i = 0; i < steps; ++i) scaler.update(overflowed);
}

TEST(LossScaler, MegatronsDefaults) {
  const LossScaler scaler(OptimConfig{}, true);
  EXPECT_EQ(scaler.kind(), LossScaler::Kind::kDynamic);
  EXPECT_EQ(scaler.scale(), 4294967296.0);
  EXPECT_EQ(OptimConfig{}.min_loss_scale, 1.0);
  EXPECT_EQ(OptimConfig{}.loss_scale_window, 1000);
  EXPECT_EQ(OptimConfig{}.hysteresis, 2);
}

TEST(LossScaler, HalvesWhenTheHysteresisIsUsedUp) {
  LossScaler scaler(dynamic_config(), true);
  update(scaler, 1, true);
  EXPECT_EQ(scaler.scale(), 1024);
  update(scaler, 1, true);
  EXPECT_EQ(scaler.scale(), 512);
  update(scaler, 1, true);
  EXPECT_EQ(scaler.scale(), 256) << "from then on every overflow counts";
  update(scaler, 20, true);
  EXPECT_EQ(scaler.scale(), 64) << "min_loss_scale";
}

TEST(LossScaler, DoublesAfterAWindowWithoutOverflow) {
  LossScaler scaler(dynamic_config(), true);
  update(scaler, 2, true);
  update(scaler, 2, false);
  EXPECT_EQ(scaler.scale(), 512);
  update(scaler, 1, false);
  EXPECT_EQ(scaler.scale(), 1024);
  update(scaler, 1, true);
  EXPECT_EQ(scaler.scale(), 1024) << "growth gave the hysteresis back";
  update(scaler, 1, true);
  EXPECT_EQ(scaler.scale(), 512);
}

TEST(LossScaler, AnOverflowBeginsTheWindowAnew) {
  LossScaler scaler(dynamic_config(), true);
  update(scaler, 2, false);
  update(scaler, 1, true);
  update(scaler, 2, false);
  EXPECT_EQ(scaler.scale(), 1024);
  update(scaler, 1, false);
  EXPECT_EQ(scaler.scale(), 2048);
}

TEST(LossScaler, GoesOnFromItsState) {
  LossScaler whole(dynamic_config(), true), first(dynamic_config(), true), second(dynamic_config(), true);
  const bool overflows[] = {true, false, true, false, false, true, true, false, false, false};
  for (int i = 0; i < 10; ++i) whole.update(overflows[i]);
  for (int i = 0; i < 4; ++i) first.update(overflows[i]);
  second.restore(first.state());
  for (int i = 4; i < 10; ++i) second.update(overflows[i]);
  EXPECT_EQ(second.scale(), whole.scale());
  EXPECT_EQ(second.state().good_steps, whole.state().good_steps);
  EXPECT_EQ(second.state().hysteresis_left, whole.state().hysteresis_left);
}

TEST(LossScaler, AFixedScaleStays) {
  OptimConfig c = dynamic_config();
  c.loss_scale = 128;
  LossScaler scaler(c, true);
  EXPECT_EQ(scaler.kind(), LossScaler::Kind::kFixed);
  update(scaler, 5, true);
  update(scaler, 50, false);
  EXPECT_EQ(scaler.scale(), 128);
}

TEST(LossScaler, OtherDtypesHaveNone) {
  LossScaler scaler(dynamic_config(), false);
  EXPECT_EQ(scaler.kind(), LossScaler::Kind::kNone);
  update(scaler, 5, true);
  EXPECT_EQ(scaler.scale(), 1);
}

}  // namespace
}  // namespace megalith
