// What a run says of choices of experts that found no room.

#include "megalith/report/metrics_log.h"

#include "tests/train/expert_forms.h"
#include "tests/train/trainer_fixture.h"

namespace megalith {
namespace {

struct Said {
  std::vector<double> dropped;  // in the metrics of each step
  std::string log;
};

Said train(double factor) {
  const testing::RunFolder folder;
  RunConfig config = testing::small_run(3);
  config.model.moe = testing::softmax_experts(16, "1");
  config.model.moe.expert_rank_capacity_factor = factor;
  config.model.add_bias_linear = false;
  config.parallel.expert_model_parallel_size = 2;
  config.train.save = folder / "run";
  ::testing::internal::CaptureStderr();
  testing::train_on_ranks(config, 2);
  Said said{.log = ::testing::internal::GetCapturedStderr()};
  const auto metrics = read_metrics(folder / "run/metrics.jsonl");
  if (metrics.count("moe_dropped_choices") > 0)
    for (const auto& [step, value] : metrics.at("moe_dropped_choices")) said.dropped.push_back(value);
  return said;
}

TEST(DroppedChoices, AreInTheMetricsAndTheFirstInTheLog) {
  const Said said = train(1);
  ASSERT_EQ(said.dropped.size(), 3u);
  for (const double dropped : said.dropped) EXPECT_GT(dropped, 0);
  // 4 x 24 tokens, 2 of 8 experts each, 2 layers
  const std::string line =
      fmt::format("step 1: {:.0f} of 384 choices of experts found no room", said.dropped[0]);
  const size_t place = said.log.find(line);
  ASSERT_NE(place, std::string::npos) << said.log;
  EXPECT_NE(said.log.find("raise moe_expert_rank_capacity_factor, which is 1 ", place), std::string::npos);
  EXPECT_EQ(said.log.find("found no room", place + line.size()), std::string::npos) << said.log;
}

TEST(DroppedChoices, AreNotNamedWhereAllHaveRoom) {
  const Said said = train(2);
  EXPECT_EQ(said.dropped, std::vector<double>(3));
  EXPECT_EQ(said.log.find("found no room"), std::string::npos);
  EXPECT_TRUE(train(0).dropped.empty());
}

}  // namespace
}  // namespace megalith
