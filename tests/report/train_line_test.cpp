#include "megalith/report/train_line.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/log.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {
using ::testing::HasSubstr;
using ::testing::Not;

TEST(TrainLine, ShowsWhatATrainerWatches) {
  const TrainLine::Values values{
      .step = 50, .loss = 4.31274, .lr = 2.9e-4, .grad_norm = 1.2345, .tokens_per_second = 12345};
  EXPECT_EQ(train_line_text(values, 2000, 192),
            "step   50/2000   2%  loss 4.3127  lr 2.90e-04  norm 1.234  12.3K tokens/s  ETA 3m12s");
  EXPECT_THAT(train_line_text(values, 2000, -1), Not(HasSubstr("ETA")));
  EXPECT_THAT(train_line_text(values, 50, 0), Not(HasSubstr("ETA")));
}

TEST(TrainLine, ALogHasTheFirstTheLastAndEveryIntervalthStep) {
  ::testing::internal::CaptureStderr();
  {
    TrainLine line({.total_steps = 25, .log_interval = 10});
    for (int64_t step = 1; step <= 25; ++step) line.update({.step = step, .loss = 1});
    line.note("checkpoint");
    line.finish();
  }
  const std::vector<std::string> lines = split(::testing::internal::GetCapturedStderr(), '\n');
  ASSERT_EQ(lines.size(), 6u);
  EXPECT_THAT(lines[0], HasSubstr("step  1/25"));
  EXPECT_THAT(lines[1], HasSubstr("step 10/25"));
  EXPECT_THAT(lines[2], HasSubstr("step 20/25"));
  EXPECT_THAT(lines[3], HasSubstr("step 25/25"));
  EXPECT_EQ(lines[4], "checkpoint");
  EXPECT_EQ(lines[5], "");
}

TEST(TrainLine, QuietRunsPrintNothing) {
  set_log_level(LogLevel::kError);
  ::testing::internal::CaptureStderr();
  {
    TrainLine line({.total_steps = 1, .log_interval = 1});
    line.update({.step = 1});
    line.note("x");
  }
  EXPECT_EQ(::testing::internal::GetCapturedStderr(), "");
  set_log_level(LogLevel::kInfo);
}

}  // namespace
}  // namespace megalith
