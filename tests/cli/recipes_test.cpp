// The recipes that come with the program: `plan` accepts each, and every layout that its comments name fits;
// the small ones train, and keep their numbers on layouts of ranks.
#include <filesystem>
#include <regex>

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "megalith/base/files.h"
#include "megalith/base/text.h"
#include "megalith/cli/cli.h"

namespace megalith {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
namespace fs = std::filesystem;

struct Outcome {
  int status;
  std::string out, err;
};

Outcome run(const std::vector<std::string>& arguments) {
  ::testing::internal::CaptureStdout();
  ::testing::internal::CaptureStderr();
  Outcome outcome{};
  outcome.status = run_cli(arguments);
  outcome.out = ::testing::internal::GetCapturedStdout();
  outcome.err = ::testing::internal::GetCapturedStderr();
  return outcome;
}

std::string recipe(const std::string& name) {
  return std::string(MG_SOURCE_DIR) + "/recipes/" + name + ".yaml";
}

// A layout as a comment of a recipe names it: "#   8 GPUs: --flag value ...".
struct NamedLayout {
  std::string gpus;
  std::vector<std::string> flags;
};

std::vector<NamedLayout> layouts_in(const std::string& path) {
  const std::regex line(R"(#\s+(\d+) GPUs?: (--.*))");
  std::vector<NamedLayout> layouts;
  std::smatch match;
  for (const std::string& text : split(read_text_file(path), '\n')) {
    if (!std::regex_match(text, match, line)) continue;
    NamedLayout layout{.gpus = match[1], .flags = {}};
    for (std::string word : split(match[2].str(), ' ')) {
      std::erase(word, '"');
      layout.flags.push_back(word);
    }
    layouts.push_back(layout);
  }
  return layouts;
}

TEST(Recipes, PlanAcceptsEveryOne) {
  size_t count = 0;
  for (const auto& entry : fs::directory_iterator(fs::path(MG_SOURCE_DIR) / "recipes")) {
    const std::string path = entry.path().string();
    std::vector<std::string> plan = {"plan", path};
    if (read_text_file(path).find("vocab_size") == std::string::npos)
      plan.insert(plan.end(), {"--vocab-size", "8192"});
    const Outcome outcome = run(plan);
    EXPECT_EQ(outcome.status, 0) << path << "\n" << outcome.err;
    EXPECT_THAT(outcome.out, HasSubstr("parameters"));
    ++count;
  }
  EXPECT_GE(count, 8u);
}

TEST(Recipes, LayoutsOfThePresetsFit) {
  for (const char* name : {"llama3-8b", "mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v2-lite"}) {
    std::vector<std::string> sizes;
    for (const NamedLayout& layout : layouts_in(recipe(name))) {
      std::vector<std::string> plan = {"plan", recipe(name), "--world", layout.gpus, "--best", "0"};
      plan.insert(plan.end(), layout.flags.begin(), layout.flags.end());
      const Outcome outcome = run(plan);
      EXPECT_EQ(outcome.status, 0) << outcome.err;
      EXPECT_THAT(outcome.out, HasSubstr("memory of a rank")) << name << " " << layout.gpus;
      EXPECT_THAT(outcome.out, Not(HasSubstr("DOES NOT FIT"))) << name << " " << layout.gpus;
      sizes.push_back(layout.gpus);
    }
    EXPECT_THAT(sizes, ElementsAre("1", "4", "8", "64")) << name;
  }
}

TEST(Recipes, OtherLayoutsAreNamedWhereTheRecipesOwnDoesNotRun) {
  const std::vector<std::string> plan = {"plan",
                                         recipe("llama-tiny"),
                                         "--vocab-size",
                                         "8192",
                                         "--world",
                                         "4",
                                         "--micro-batch-size",
                                         "1",
                                         "--global-batch-size",
                                         "2"};
  const Outcome outcome = run(plan);
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_THAT(outcome.out,
              HasSubstr("the recipe's own layout does not run on 4 GPUs: global_batch_size 2 is"));
  EXPECT_THAT(outcome.out, HasSubstr("the first one: --"));
  EXPECT_THAT(outcome.out, HasSubstr(" --global-batch-size 2\n"));
  std::vector<std::string> alone = plan;
  alone.insert(alone.end(), {"--best", "0"});
  const Outcome refused = run(alone);
  EXPECT_EQ(refused.status, 2) << refused.out;
  EXPECT_THAT(refused.err, HasSubstr("global_batch_size 2 is not a multiple"));
}

// Of all parameters and of those that a token passes, as the models' authors give them.
TEST(Recipes, PresetsHaveThePublishedSizes) {
  for (const auto& [name, all, active] :
       std::vector<std::array<std::string, 3>>{{"llama3-8b", "8.03B", ""},
                                               {"mixtral-8x7b", "46.7B", "12.9B"},
                                               {"qwen3-30b-a3b", "30.5B", "3.35B"}}) {
    const std::string out = run({"plan", recipe(name)}).out;
    EXPECT_TRUE(std::regex_search(out, std::regex("total +" + all))) << out;
    if (active.empty()) continue;
    EXPECT_TRUE(std::regex_search(out, std::regex("a token passes +" + active))) << out;
  }
}

TEST(Recipes, MoeTinyTrainsOnOneRankAndOnTwo) {
  const fs::path metrics = fs::temp_directory_path() / fmt::format("megalith_moe_tiny_{}", getpid());
  for (const char* ranks : {"1", "2"}) {
    const Outcome outcome = run({"train",
                                 recipe("moe-tiny"),
                                 "--mock-data",
                                 "--train-iters",
                                 "6",
                                 "--seq-length",
                                 "32",
                                 "--micro-batch-size",
                                 "2",
                                 "--global-batch-size",
                                 "4",
                                 "--lr-warmup-iters",
                                 "1",
                                 "--eval-iters",
                                 "0",
                                 "--device",
                                 "cpu",
                                 "--ranks",
                                 ranks,
                                 "--expert-model-parallel-size",
                                 ranks,
                                 "--metrics",
                                 metrics.string(),
                                 "--quiet"});
    ASSERT_EQ(outcome.status, 0) << outcome.err;
    std::smatch losses;
    ASSERT_TRUE(std::regex_search(outcome.out, losses, std::regex("loss ([0-9.]+) -> ([0-9.]+)")))
        << outcome.out;
    EXPECT_LT(std::stod(losses[2]), std::stod(losses[1]));
    EXPECT_THAT(read_text_file(metrics), HasSubstr("load_balancing_loss"));
  }
  fs::remove(metrics);
}

void expect_verified(const std::string& name, const std::string& ranks, const std::string& layouts) {
  const Outcome outcome = run(
      {"verify-layouts", recipe(name), "--ranks", ranks, "--layouts", layouts, "--steps", "2", "--shrink"});
  EXPECT_EQ(outcome.status, 0) << outcome.out << outcome.err;
  std::vector<std::string> lines = split(outcome.out, '\n');
  ASSERT_EQ(lines.size(), std::stoul(layouts) + 2) << outcome.out;
  EXPECT_EQ(lines.back(), "");
  lines.pop_back();
  EXPECT_TRUE(std::regex_match(
      lines.back(), std::regex("verify-layouts: " + layouts + " layouts, worst [0-9.e+-]+ of allowed")))
      << outcome.out;
  lines.pop_back();
  for (const std::string& line : lines)
    EXPECT_TRUE(std::regex_match(line, std::regex("layout [a-z0-9_ +-]+: worst deviation [0-9.e+-]+, allowed "
                                                  "[0-9.e+-]+, ok")))
        << line;
}

TEST(VerifyLayouts, SmallRecipes) {
  expect_verified("moe-tiny", "4", "5");
  expect_verified("llama-tiny", "4", "4");
}

TEST(VerifyLayouts, SmallSistersOfThePresets) {
  for (const char* name : {"llama3-8b", "mixtral-8x7b", "qwen3-30b-a3b", "deepseek-v2-lite"})
    expect_verified(name, "2", "4");
}

TEST(VerifyLayouts, SaysWhyALayoutCannotRun) {
  const Outcome outcome =
      run({"verify-layouts", recipe("moe-tiny"), "--ranks", "2", "--shrink", "--steps", "1",
           "--num-distributed-optimizer-instances", "1", "--moe-expert-capacity-factor", "1"});
  EXPECT_EQ(outcome.status, 0) << outcome.err;
  EXPECT_TRUE(std::regex_search(
      outcome.out,
      std::regex("layout tp2 sp[^:]*: cannot run: moe_expert_capacity_factor counts the tokens")))
      << outcome.out;
}

// A learning rate that throws the weights about makes chaos of the last bits: the command must say so.
TEST(VerifyLayouts, FailsWhereNumbersDiffer) {
  const Outcome outcome = run({"verify-layouts", recipe("llama-tiny"), "--ranks", "2", "--layouts", "2",
                               "--shrink", "--steps", "8", "--lr", "30"});
  EXPECT_EQ(outcome.status, 1) << outcome.out;
  EXPECT_THAT(outcome.out, HasSubstr("FAILED: "));
  EXPECT_THAT(outcome.err, HasSubstr("do not compute what one rank computes"));
}

}  // namespace
}  // namespace megalith
