#include "megalith/report/metrics_log.h"

#include <cmath>
#include <fstream>
#include <random>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"

#include "tests/report/temporary_directory.h"

namespace megalith {
namespace {
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class MetricsLogTest : public ::testing::Test {
 protected:
  std::filesystem::path file() const { return directory_.path() / "metrics.jsonl"; }
  std::string error_of_reading() const {
    try {
      read_metrics(file());
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(MetricsLogTest, LinesAreWholeJsonObjectsAndReadBackExactly) {
  {
    MetricsLog log(file(), 0);
    log.write(1, {{"loss", 0.1 + 0.2}, {"lr", 3e-4}});
    log.write(2, {{"loss", 1e300}, {"grad_norm", NAN}});
    // Visible before the log is closed.
    EXPECT_EQ(read_text_file(file()),
              "{\"step\": 1, \"loss\": 0.30000000000000004, \"lr\": 0.0003}\n"
              "{\"step\": 2, \"loss\": 1e+300, \"grad_norm\": null}\n");
  }
  const auto metrics = read_metrics(file());
  EXPECT_THAT(metrics.at("loss"), ElementsAre(Pair(1, 0.1 + 0.2), Pair(2, 1e300)));
  EXPECT_THAT(metrics.at("lr"), ElementsAre(Pair(1, 3e-4)));
  EXPECT_FALSE(metrics.contains("grad_norm"));
  EXPECT_FALSE(metrics.contains("step"));
}

TEST_F(MetricsLogTest, AResumedRunReplacesTheStepsItRunsAgain) {
  {
    MetricsLog log(file(), 0);
    for (int step = 1; step <= 10; ++step) log.write(step, {{"loss", 100.0 + step}});
  }
  {
    MetricsLog log(file(), 7);
    for (int step = 8; step <= 9; ++step) log.write(step, {{"loss", 200.0 + step}});
  }
  const MetricSeries loss = read_metrics(file()).at("loss");
  ASSERT_EQ(loss.size(), 9u);
  EXPECT_THAT(loss[6], Pair(7, 107.0));
  EXPECT_THAT(loss[7], Pair(8, 208.0));
  { const MetricsLog log(file(), 0); }
  EXPECT_EQ(read_text_file(file()), "");
}

TEST_F(MetricsLogTest, ATornLastLineIsIgnoredAtEveryCut) {
  const std::string whole = "{\"step\": 1, \"loss\": 5}\n";
  const std::string second = "{\"step\": 2, \"loss\": 4}\n";
  for (size_t cut = 0; cut <= second.size(); ++cut) {
    std::ofstream(file()) << whole << second.substr(0, cut);
    const size_t expected = cut + 1 >= second.size() ? 2 : 1;
    EXPECT_EQ(read_metrics(file()).at("loss").size(), expected) << cut;
    {
      MetricsLog log(file(), 5);
      log.write(6, {{"loss", 3}});
    }
    EXPECT_EQ(read_metrics(file()).at("loss").size(), expected + 1) << cut;
  }
}

TEST_F(MetricsLogTest, AWrongLineInTheMiddleIsNamed) {
  write_text_file(file(), "{\"step\": 1}\nnonsense\n{\"step\": 2}\n");
  EXPECT_THAT(error_of_reading(), HasSubstr("metrics.jsonl:2: not a line of metrics"));
  write_text_file(file(), "{\"loss\": 1}\n");
  EXPECT_THAT(error_of_reading(), HasSubstr("metrics.jsonl:1:"));
  write_text_file(file(), "[1]\n");
  EXPECT_THAT(error_of_reading(), HasSubstr("metrics.jsonl:1:"));
}

TEST_F(MetricsLogTest, UnwritablePlacesAreNamed) {
  try {
    const MetricsLog log(directory_.path() / "absent" / "metrics.jsonl", 0);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("absent/metrics.jsonl"));
  }
}

TEST_F(MetricsLogTest, RandomMutationsAreReadOrRejectedButNeverCrash) {
  std::string text;
  for (int i = 1; i < 6; ++i)
    text += fmt::format("{{\"step\": {}, \"loss\": {}.5, \"note\": \"a\"}}\n", i, i);
  std::mt19937 random(7);
  int rejected = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string mutated = text;
    for (int edit = 0; edit < 3; ++edit)
      mutated[random() % mutated.size()] = static_cast<char>(random() % 256);
    std::ofstream(file()) << mutated;
    rejected += error_of_reading().empty() ? 0 : 1;
  }
  EXPECT_GT(rejected, 300);
  EXPECT_LT(rejected, 1500);
}

}  // namespace
}  // namespace megalith
