#include "megalith/base/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/log.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::Not;

// stderr of the test is a file: plain lines.
TEST(Progress, WritesPlainLinesAndALastOne) {
  set_log_level(LogLevel::kInfo);
  testing::internal::CaptureStderr();
  Progress progress({.title = "read", .total = 1000, .unit = "B", .plain_interval_s = 0});
  progress.update(250, "2 files");
  EXPECT_GE(progress.eta_s(), 0);
  progress.update(1000);
  progress.finish();
  progress.finish();
  const std::string text = testing::internal::GetCapturedStderr();
  EXPECT_THAT(text, HasSubstr("read  25% 250/1.00K B"));
  EXPECT_THAT(text, HasSubstr("2 files, ETA "));
  EXPECT_THAT(text, HasSubstr("read 100% 1.00K/1.00K B"));
  EXPECT_THAT(text, Not(HasSubstr("\033")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
}

TEST(Progress, KnowsNoEtaWithoutATotalOrFreshWork) {
  set_log_level(LogLevel::kQuiet);
  Progress unknown({.title = "read"});
  unknown.update(5);
  EXPECT_LT(unknown.eta_s(), 0);
  Progress resumed({.title = "read", .total = 100, .start = 50});
  EXPECT_LT(resumed.eta_s(), 0);
  resumed.update(75);
  EXPECT_GE(resumed.eta_s(), 0);
}

TEST(Progress, SaysNothingWhenQuiet) {
  set_log_level(LogLevel::kQuiet);
  testing::internal::CaptureStderr();
  {
    Progress progress({.title = "read", .total = 10, .plain_interval_s = 0});
    progress.update(5);
    progress.finish();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  set_log_level(LogLevel::kInfo);
}

TEST(Log, LevelsAreOrderedAndParsed) {
  EXPECT_EQ(parse_log_level("warn"), LogLevel::kWarn);
  EXPECT_THROW(parse_log_level("loud"), std::runtime_error);
  set_log_level(LogLevel::kWarn);
  testing::internal::CaptureStderr();
  log_info("hidden {}", 1);
  log_warn("shown {}", 2);
  log_error("shown {}", 3);
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "warning: shown 2\nerror: shown 3\n");
  set_log_level(LogLevel::kInfo);
}

}  // namespace
}  // namespace megalith
