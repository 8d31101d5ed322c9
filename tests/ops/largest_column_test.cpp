#include "megalith/ops/largest_column.h"

#include <cmath>

#include <gtest/gtest.h>

#include "tests/ops/conformance.h"

namespace megalith {
namespace {

TEST(LargestColumn, TheLowestOfEqualOnes) {
  Exec exec;
  for (const DType dtype : conformance::kFloatTypes) {
    const Tensor x = conformance::tensor_of(
        exec, {1, 3, 3, 2, -1, -2, -3, -1, NAN, 0.5, NAN, 0.25, NAN, NAN, NAN, NAN}, {4, 4}, dtype);
    const Tensor out = exec.empty({4}, DType::kI32);
    largest_column(x, out, exec);
    EXPECT_EQ(to_vector<int32_t>(out), (std::vector<int32_t>{1, 0, 1, 0})) << name_of(dtype);
    largest_column(x.slice(1, 2, 4), out, exec);
    EXPECT_EQ(to_vector<int32_t>(out), (std::vector<int32_t>{0, 1, 1, 0})) << name_of(dtype);
  }
}

TEST(LargestColumn, NothingToChooseFromIsAnError) {
  Exec exec;
  EXPECT_THROW(largest_column(exec.empty({2, 0}, DType::kF32), exec.empty({2}, DType::kI32), exec), Error);
}

}  // namespace
}  // namespace megalith
