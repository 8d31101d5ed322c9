// What is said of a run that is slightly wrong.
#include <gtest/gtest.h>

#include "tests/train/expert_forms.h"
#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;

MoeConfig by_softmax() {
  return testing::softmax_experts(16);
}

TEST(CompareLayouts, SeesAWrongGradientAndAWrongLoss) {
  const LayoutCase layout{.name = "", .moe = by_softmax()};
  const LayoutRun run = testing::run_layout(layout, 2);
  constexpr double kTolerance = 1e-5;
  EXPECT_EQ(compare_layouts(run, run, kTolerance).worst, 0);

  LayoutRun wrong = run;
  const std::string expert = "decoder.layers.2.mlp.experts.linear_fc1.weight3";
  for (float& value : wrong.first_gradients.at(expert)) value *= 1.0001f;
  LayoutDeviation deviation = compare_layouts(run, wrong, kTolerance);
  EXPECT_FALSE(deviation.is_ok());
  EXPECT_EQ(deviation.where, "gradient of " + expert);
  EXPECT_NEAR(deviation.worst, 1e-4, 1e-6);

  wrong = run;
  wrong.losses[1] *= 1.001;
  EXPECT_EQ(compare_layouts(run, wrong, kTolerance).where, "loss of step 2");
  wrong.losses[1] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(compare_layouts(run, wrong, kTolerance).is_ok());

  wrong = run;
  wrong.first_gradients.erase(expert);
  EXPECT_FALSE(compare_layouts(run, wrong, kTolerance).is_ok());
  EXPECT_FALSE(compare_layouts(wrong, run, kTolerance).is_ok());

  MoeConfig other = by_softmax();
  other.aux_loss_coeff *= 1.01;
  const LayoutRun otherwise = testing::run_layout({.name = "", .moe = other}, 1);
  EXPECT_FALSE(compare_layouts({.losses = {run.losses[0]},
                                .grad_norms = {run.grad_norms[0]},
                                .first_gradients = run.first_gradients},
                               otherwise, kTolerance)
                   .is_ok());
}

}  // namespace
}  // namespace megalith
