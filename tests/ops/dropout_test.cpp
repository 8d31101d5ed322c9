#include "megalith/ops/dropout.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/ops/conformance.h"
#include "tests/ops/performance.h"

namespace megalith {
namespace {

using namespace conformance;
using testing::HasSubstr;
using testing::ThrowsMessage;

TEST(Dropout, KeepsWhatTheScalarGeneratorKeeps) {
  for_each_variant([](DType dtype, Exec& exec) {
    for (const Shape& shape : {Shape{1, 1}, {3, 7}, {0, 4}, {5, 1021}, {130, 33}, {2, 20001}}) {
      for (const Layout layout : kLayouts) {
        for (const double p : {0.0, 0.1, 0.5}) {
          const RngKey rng = RngKey{77, 5}.fold("dropout");
          const Tensor x = random_tensor(exec, shape, dtype, 1, layout);
          const Tensor y = poisoned_tensor(exec, shape, dtype, layout);
          dropout({.x = x, .y = y, .probability = p, .rng = rng}, exec);
          std::vector<double> expected = values_of(x);
          for (size_t i = 0; i < expected.size(); ++i) {
            const bool keeps = static_cast<double>(uniform_from_bits(rng.bits(i))) >= p;
            expected[i] = keeps ? expected[i] / (1 - p) : 0;
          }
          expect_close(y, expected, tolerance(dtype, 1), "y");
          dropout({.x = x, .y = x, .probability = p, .rng = rng}, exec);
          EXPECT_EQ(bits_of(x), bits_of(y)) << "in place";
        }
      }
    }
  });
}

TEST(Dropout, DropsTheStatedShare) {
  Exec exec;
  constexpr int64_t kCount = 1 << 20;
  const Tensor x = tensor_of(exec, std::vector<double>(kCount, 1), {1, kCount}, DType::kF32);
  const Tensor y = poisoned_tensor(exec, {1, kCount}, DType::kF32);
  constexpr double kP = 0.3;
  dropout({.x = x, .y = y, .probability = kP, .rng = {1, 2}}, exec);
  double dropped = 0;
  for (const double value : values_of(y)) dropped += value == 0;
  // Five standard deviations of the binomial distribution.
  EXPECT_NEAR(dropped / kCount, kP, 5 * std::sqrt(kP * (1 - kP) / kCount));
}

TEST(Dropout, RefusesAProbabilityOutsideTheRange) {
  Exec exec;
  const Tensor x = exec.zeros({2, 2}, DType::kF32);
  for (const double p : {-0.1, 1.0, std::nan("")}) {
    EXPECT_THAT([&] { dropout({.x = x, .y = x, .probability = p}, exec); },
                ThrowsMessage<Error>(HasSubstr("is outside [0, 1)")));
  }
}

TEST(DropoutPerformance, Table) {
  if (!performance_wanted()) GTEST_SKIP() << "set MEGALITH_PERF=1";
  Exec exec;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const Tensor x = random_tensor(exec, {4096, 768}, dtype, 1);
    const Tensor y = exec.zeros({4096, 768}, dtype);
    report_bandwidth(std::string("dropout ") + name_of(dtype) + " [4096, 768]", 2 * x.nbytes(),
                     exec.num_threads(), [&] { dropout({.x = x, .y = y, .probability = 0.1}, exec); });
  }
}

}  // namespace
}  // namespace megalith
