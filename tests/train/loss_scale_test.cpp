// f16 training and the loss scale.

#include <map>
#include <string>

#include "megalith/report/metrics_log.h"

#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

using testing::RunFolder;
using testing::small_run;
using testing::train_run;

RunConfig run_in(const RunFolder& folder, const std::string& name, int64_t steps) {
  RunConfig config = small_run(steps);
  config.train.eval_iters = 0;
  config.train.save = folder / name;
  return config;
}

// By name and step; what was NaN or Inf is not there.
std::map<std::string, std::map<int64_t, double>> metrics_of(const RunConfig& config) {
  train_run(config);
  std::map<std::string, std::map<int64_t, double>> metrics;
  for (const auto& [name, series] : read_metrics(std::filesystem::path(config.train.save) / "metrics.jsonl"))
    metrics[name] = {series.begin(), series.end()};
  return metrics;
}

TEST(LossScale, APowerOfTwoChangesNoBitInF32) {
  const RunFolder folder;
  const RunConfig plain = run_in(folder, "plain", 5);
  RunConfig scaled = run_in(folder, "scaled", 5);
  scaled.optim.loss_scale = 4096;
  for (const bool is_per_token : {false, true}) {
    RunConfig a = plain, b = scaled;
    a.train.calculate_per_token_loss = b.train.calculate_per_token_loss = is_per_token;
    a.train.save += is_per_token ? "_token" : "";
    b.train.save += is_per_token ? "_token" : "";
    const auto expected = metrics_of(a), got = metrics_of(b);
    EXPECT_EQ(got.at("loss"), expected.at("loss"));
    EXPECT_EQ(got.at("grad_norm"), expected.at("grad_norm"));
    EXPECT_EQ(got.at("loss_scale").at(1), 4096);
    EXPECT_FALSE(expected.contains("loss_scale"));
  }
}

TEST(LossScale, F16FollowsF32) {
  const RunFolder folder;
  RunConfig half = run_in(folder, "f16", 10);
  half.model.fp16 = true;
  half.optim.initial_loss_scale = 65536;
  const auto expected = metrics_of(run_in(folder, "f32", 10)), got = metrics_of(half);
  for (const auto& [step, loss] : expected.at("loss"))
    EXPECT_NEAR(got.at("loss").at(step), loss, 0.01 * loss) << step;
}

TEST(LossScale, OverflowSkipsTheStepAndHalves) {
  const RunFolder folder;
  RunConfig config = run_in(folder, "f16", 40);
  config.model.fp16 = true;
  config.optim.hysteresis = 1;
  config.optim.loss_scale_window = 4;
  const auto metrics = metrics_of(config);
  const auto& scale = metrics.at("loss_scale");
  EXPECT_EQ(scale.at(1), 4294967296.0);
  int64_t first_good = 0, growths = 0;
  for (int64_t step = 1; step < 40; ++step) {
    const bool overflowed = !metrics.at("grad_norm").contains(step);
    if (overflowed) {
      EXPECT_EQ(scale.at(step + 1), scale.at(step) / 2) << step;
    }
    if (!overflowed && first_good == 0) first_good = step;
    growths += scale.at(step + 1) > scale.at(step) ? 1 : 0;
  }
  EXPECT_GT(first_good, 2) << "the first gradients overflow";
  EXPECT_GT(growths, 0);
  // The schedule counts updates alone: the first good step has the learning rate of the first.
  EXPECT_EQ(metrics.at("lr").at(first_good), metrics.at("lr").at(1));
  EXPECT_LT(metrics.at("loss").at(40), metrics.at("loss").at(first_good));
}

TEST(LossScale, ResumeIsExact) {
  const RunFolder folder;
  RunConfig whole = run_in(folder, "whole", 24);
  whole.model.fp16 = true;
  whole.optim.initial_loss_scale = 1 << 22;
  whole.optim.loss_scale_window = 3;
  const auto expected = metrics_of(whole);
  RunConfig parts = whole;
  parts.train.save = parts.train.load = folder / "parts";
  parts.train.train_iters = 11;
  train_run(parts);
  parts.train.train_iters = 24;
  const auto got = metrics_of(parts);
  for (const char* metric : {"loss_scale", "lr", "consumed_samples"})
    EXPECT_EQ(got.at(metric), expected.at(metric)) << metric;
  for (const char* file : {"model.safetensors", "optimizer.safetensors"})
    EXPECT_TRUE(read_text_file(folder / "whole/iter_0000024" / file) ==
                read_text_file(folder / "parts/iter_0000024" / file))
        << file;
}

TEST(LossScale, FixedInF16FollowsTheNanPolicy) {
  const RunFolder folder;
  RunConfig config = run_in(folder, "f16", 3);
  config.model.fp16 = true;
  config.optim.loss_scale = 4294967296;
  EXPECT_THROW(train_run(config), Error);
  config.optim.loss_scale = 1024;
  EXPECT_EQ(train_run(config).last_step, 3);
}

}  // namespace
}  // namespace megalith
