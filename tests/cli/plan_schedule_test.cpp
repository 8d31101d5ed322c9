#include "megalith/cli/plan_schedule.h"

#include <filesystem>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "megalith/base/files.h"
#include "megalith/cli/cli.h"

namespace megalith {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

GptConfig small_model() {
  GptConfig model;
  model.num_layers = 8;
  model.hidden_size = 16;
  model.num_attention_heads = 2;
  model.ffn_hidden_size = 64;
  model.vocab_size = 16;
  model.make_vocab_size_divisible_by = 16;
  model.max_position_embeddings = 8;
  return model;
}

TEST(PlanSchedule, TellsTheBubbleAndWhatTheRanksHold) {
  ParallelConfig parallel;
  parallel.pipeline_model_parallel_size = 4;
  const SchedulePlan plan = plan_schedule(parallel, small_model(), 8);
  EXPECT_NEAR(plan.even_bubble_fraction, 3.0 / 11, 1e-12);
  EXPECT_GT(plan.timeline.bubble_fraction, plan.even_bubble_fraction);  // the head makes the last rank slower
  testing::internal::CaptureStdout();
  print_schedule(plan);
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_THAT(text, HasSubstr("pipeline schedule 1f1b: 4 ranks, 4 stages, 8 microbatches"));
  EXPECT_THAT(text, HasSubstr("27.3 % if all stages took equally long"));
  EXPECT_THAT(text, HasSubstr("embedding + layers 0-1   4 in flight"));
  EXPECT_THAT(text, HasSubstr("layers 6-7 + loss        1 in flight"));
}

TEST(PlanSchedule, ALayoutReplacesTheEvenSplit) {
  ParallelConfig parallel;
  parallel.pipeline_model_parallel_size = 2;
  parallel.pipeline_schedule = "zb-v";
  parallel.pipeline_model_parallel_layout = "Ett|ttt|tt|tL";
  testing::internal::CaptureStdout();
  print_schedule(plan_schedule(parallel, small_model(), 4));
  const std::string text = testing::internal::GetCapturedStdout();
  EXPECT_THAT(text,
              HasSubstr("embedding + layers 0-1 | layer 7 + loss   4 chunks in flight, 2 microbatches"));
  EXPECT_THAT(text, HasSubstr("layers 2-4 | layers 5-6"));
  parallel.pipeline_model_parallel_layout = "Ett|tttttt L";
  EXPECT_THAT([&] { plan_schedule(parallel, small_model(), 4); },
              ThrowsMessage<UsageError>(HasSubstr("it has 2 stages, the pipeline has 4")));
}

TEST(PlanSchedule, TheCommandDrawsIt) {
  const std::filesystem::path root =
      std::filesystem::temp_directory_path() / fmt::format("mg_plan_schedule_{}", getpid());
  make_directories(root);
  const std::string recipe = (root / "r.yaml").string();
  const std::string picture = (root / "t.svg").string();
  write_text_file(recipe,
                  "model:\n  num_layers: 4\n  hidden_size: 16\n  num_attention_heads: 2\n  vocab_size: 64\n"
                  "data:\n  seq_length: 8\noptim:\n  lr: 1.0e-3\ntrain:\n  train_iters: 1\n");
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  const int status = run_cli({"plan", recipe, "--schedule", "zb-h1", "--pipeline-model-parallel-size", "2",
                              "--num-microbatches", "4", "--out", picture});
  const std::string out = testing::internal::GetCapturedStdout();
  const std::string error = testing::internal::GetCapturedStderr();
  EXPECT_THAT(out, HasSubstr("pipeline schedule zb-h1: 2 ranks"));
  if (status == 0) {
    EXPECT_THAT(read_text_file(picture), HasSubstr("</svg>"));
  } else {
    EXPECT_THAT(error, HasSubstr("libcairo2-dev"));
  }
  testing::internal::CaptureStdout();
  testing::internal::CaptureStderr();
  EXPECT_EQ(run_cli({"plan", recipe, "--schedule", "2f2b"}), 2);
  testing::internal::GetCapturedStdout();
  EXPECT_THAT(testing::internal::GetCapturedStderr(), HasSubstr("there is no pipeline schedule '2f2b'"));
  std::filesystem::remove_all(root);
}

}  // namespace
}  // namespace megalith
