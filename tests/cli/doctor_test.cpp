#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/cli/cli.h"
#include "megalith/core/has_cuda.h"

namespace megalith {
namespace {

using ::testing::HasSubstr;

struct Outcome {
  int status = 0;
  std::string out;
};

Outcome run(const std::vector<std::string>& arguments) {
  ::testing::internal::CaptureStdout();
  Outcome outcome;
  outcome.status = run_cli(arguments);
  outcome.out = ::testing::internal::GetCapturedStdout();
  return outcome;
}

TEST(Doctor, AnyMachineThatRunsTheTestsIsWell) {
  const Outcome outcome = run({"doctor"});
  EXPECT_EQ(outcome.status, 0) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("a product of two matrices is right"));
  if (!kHasCuda) {
    EXPECT_THAT(outcome.out, HasSubstr("this build has no CUDA"));
  }
}

TEST(Bench, OneProductAndWhatIsNoProduct) {
  const Outcome outcome =
      run({"bench", "gemm", "--size", "64", "32", "16", "--device", "cpu", "--dtype", "f32"});
  EXPECT_EQ(outcome.status, 0) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("    64 x     32 x     16"));
  EXPECT_EQ(run({"bench", "gemm", "--size", "64", "32", "--device", "cpu"}).status, 2);
}

}  // namespace
}  // namespace megalith
