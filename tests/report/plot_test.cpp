#include "megalith/report/plot.h"

#include <cmath>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/report/metrics_log.h"

#include "tests/report/temporary_directory.h"

namespace megalith {
namespace {
using ::testing::AnyOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;
using ::testing::StartsWith;

class PlotTest : public ::testing::Test {
 protected:
  std::filesystem::path run_directory() {
    const std::filesystem::path run = directory_.path() / "run-a";
    make_directories(run);
    MetricsLog log(run / "metrics.jsonl", 0);
    for (int step = 1; step <= 50; ++step) {
      log.write(step, {{"loss", 10.0 / step}, {"lr", 1e-3}, {"consumed_samples", 8.0 * step}});
      if (step % 25 == 0) log.write(step, {{"eval_loss", 11.0 / step}});
    }
    return run;
  }
  template <class Action>
  static std::string error_of(const Action& action) {
    try {
      action();
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  }
  testing::TemporaryDirectory directory_;
};

TEST_F(PlotTest, ARunIsReadFromItsDirectoryOrFile) {
  const std::filesystem::path path = run_directory();
  const PlotRun run = load_plot_run(path, "loss", "step");
  EXPECT_EQ(run.label, "run-a");
  ASSERT_EQ(run.train.size(), 50u);
  EXPECT_THAT(run.train[1], Pair(2, 5));
  EXPECT_THAT(run.held_out, ElementsAre(Pair(25, 11.0 / 25), Pair(50, 11.0 / 50)));
  EXPECT_EQ(run.lr.size(), 50u);
  EXPECT_EQ(load_plot_run(path / "metrics.jsonl", "loss", "step").train, run.train);
  EXPECT_THAT(load_plot_run(path, "loss", "consumed_samples").held_out[0], Pair(200, 11.0 / 25));
}

TEST_F(PlotTest, UnknownMetricsAreNamedWithThoseThatExist) {
  const std::filesystem::path path = run_directory();
  EXPECT_THAT(error_of([&] { load_plot_run(path, "perplexity", "step"); }),
              HasSubstr("has no metric 'perplexity'; it has: consumed_samples, eval_loss, loss, lr"));
  EXPECT_THAT(error_of([&] { load_plot_run(path, "loss", "tokens"); }), HasSubstr("has no metric 'tokens'"));
  EXPECT_THAT(error_of([&] { load_plot_run(directory_.path() / "none", "loss", "step"); }),
              HasSubstr("none"));
}

TEST_F(PlotTest, PicturesAreWrittenOrThePackageIsNamed) {
  const std::vector<PlotRun> runs = {load_plot_run(run_directory(), "loss", "step")};
  for (const AxisScale scale : {AxisScale::kLinear, AxisScale::kLog}) {
    const PlotOptions options{.title = "t", .y_scale = scale, .show_lr = true};
    const std::filesystem::path svg = directory_.path() / "a.svg";
    const std::filesystem::path png = directory_.path() / "a.png";
    const std::string error = error_of([&] { write_plot(svg, runs, options); });
    if (!error.empty()) {
      EXPECT_THAT(error, HasSubstr("libcairo2-dev"));
      return;
    }
    write_plot(png, runs, options);
    EXPECT_THAT(read_text_file(svg), StartsWith("<?xml"));
    EXPECT_THAT(read_text_file(svg), HasSubstr("</svg>"));
    EXPECT_THAT(read_text_file(png), StartsWith("\x89PNG"));
    EXPECT_GT(read_text_file(png).size(), 5000u);
  }
}

TEST_F(PlotTest, WhatCannotBeDrawnIsAnError) {
  const PlotOptions options{.y_label = "loss"};
  const PlotRun run{.label = "r", .train = {{0, 1}, {1, 2}}, .held_out = {}, .lr = {}};
  EXPECT_THAT(error_of([&] { write_plot(directory_.path() / "a.gif", {run}, options); }),
              AnyOf(HasSubstr("a picture is a .svg or a .png file"), HasSubstr("libcairo2-dev")));
  EXPECT_NE(error_of([&] { write_plot(directory_.path() / "a.svg", {PlotRun{}}, options); }), "");
  EXPECT_NE(error_of([&] { write_plot(directory_.path() / "absent" / "a.svg", {run}, options); }), "");
  const PlotRun negative{.label = "r", .train = {{0, -1}, {1, 2}}, .held_out = {}, .lr = {}};
  const PlotOptions log_scale{.y_scale = AxisScale::kLog};
  EXPECT_NE(error_of([&] { write_plot(directory_.path() / "a.svg", {negative}, log_scale); }), "");
}

TEST_F(PlotTest, OnePointIsAPicture) {
  const PlotRun run{.label = "r", .train = {{5, 2}}, .held_out = {{5, 2}}, .lr = {}};
  const std::string error = error_of([&] { write_plot(directory_.path() / "a.svg", {run}, {}); });
  EXPECT_THAT(error, AnyOf(std::string(), HasSubstr("libcairo2-dev")));
}

}  // namespace
}  // namespace megalith
