// Every layout of ranks computes what one rank computes: losses, gradient norms and gradients of ten steps.
#include <gtest/gtest.h>

#include "tests/train/layout_run.h"

namespace megalith {
namespace {

using testing::LayoutCase;

class Layouts : public ::testing::TestWithParam<LayoutCase> {};

TEST_P(Layouts, TenStepsEqualOneRank) {
  testing::expect_equal_to_one_rank(GetParam());
}

INSTANTIATE_TEST_SUITE_P(All, Layouts, ::testing::ValuesIn(testing::layout_cases()),
                         [](const auto& instance) { return instance.param.name; });

}  // namespace
}  // namespace megalith
