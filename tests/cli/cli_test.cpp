#include "megalith/cli/cli.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <regex>

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/files.h"
#include "megalith/base/text.h"
#include "megalith/cli/commands.h"
#include "megalith/cli/version.h"

namespace megalith {
namespace {
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

struct Outcome {
  int status;
  std::string out;
  std::string err;
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

size_t longest_line(const std::string& text) {
  size_t longest = 0;
  for (const std::string& line : split(text, '\n')) longest = std::max(longest, line.size());
  return longest;
}

TEST(Cli, AloneItTeachesWhatToDoFirst) {
  const Outcome outcome = run({});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_EQ(outcome.err, "");
  EXPECT_THAT(outcome.out, HasSubstr("Start here"));
  for (const Command& command : commands()) EXPECT_THAT(outcome.out, HasSubstr("  " + command.name + " "));
  for (const char* flag : {"--help", "-h", "help"}) EXPECT_EQ(run({flag}).out, outcome.out);
  EXPECT_LE(longest_line(outcome.out), 80u);
  EXPECT_EQ(run({"help", "data", "merge"}).out, run({"data", "merge", "--help"}).out);
}

TEST(Cli, VersionIsThatOfTheProject) {
  EXPECT_EQ(run({"--version"}).out, std::string("megalith ") + kVersion + "\n");
  EXPECT_THAT(read_text_file(std::string(MG_SOURCE_DIR) + "/CMakeLists.txt"),
              HasSubstr(std::string("project(megalith VERSION ") + kVersion + " "));
}

TEST(Cli, UnknownCommandsAndFlagsSuggestTheNearest) {
  const Outcome command = run({"plto", "x"});
  EXPECT_EQ(command.status, 2);
  EXPECT_EQ(command.out, "");
  EXPECT_EQ(command.err, "error: unknown command 'plto'; did you mean `megalith plot`?\n");
  EXPECT_EQ(run({"zzzzzzzzz"}).err,
            "error: unknown command 'zzzzzzzzz'; `megalith` alone lists the commands\n");
  EXPECT_THAT(run({"--quiet", "plot"}).err, HasSubstr("`megalith COMMAND --quiet`"));
  const Outcome flag = run({"plot", "--metrik", "loss"});
  EXPECT_EQ(flag.status, 2);
  EXPECT_EQ(flag.err, "error: unknown flag '--metrik'; did you mean --metric?\n");
}

TEST(Cli, FailuresAreStatusOne) {
  const Outcome outcome = run({"plot", "/nonexistent/run.jsonl"});
  EXPECT_EQ(outcome.status, 1);
  EXPECT_THAT(outcome.err, StartsWith("error: /nonexistent/run.jsonl: "));
  EXPECT_EQ(run({"plot"}).status, 2);
}

TEST(Cli, HelpWinsOverOtherErrors) {
  const Outcome outcome = run({"plot", "--smoothing", "7", "--help"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.out, StartsWith("usage: megalith plot RUN..."));
  EXPECT_EQ(run({"plot", "--smoothing", "7", "--", "--help"}).status, 2);
}

TEST(Cli, HelpOfEveryCommandFitsTheScreenAndGivesAnExample) {
  for (const Command& command : commands()) {
    std::vector<std::string> arguments = split(command.name, ' ');
    arguments.emplace_back("--help");
    const Outcome outcome = run(arguments);
    EXPECT_EQ(outcome.status, 0) << command.name;
    EXPECT_THAT(outcome.out, HasSubstr("megalith " + command.name)) << command.name;
    EXPECT_THAT(outcome.out, HasSubstr("Example")) << command.name;
    EXPECT_LE(split(outcome.out, '\n').size(), 50u) << command.name << "\n" << outcome.out;
    EXPECT_LE(longest_line(outcome.out), 80u) << command.name << "\n" << outcome.out;
    arguments.back() = "--help-all";
    EXPECT_THAT(run(arguments).out, HasSubstr("--log-level NAME")) << command.name;
  }
}

TEST(Cli, CommandNamesAndSummariesAreWellFormed) {
  std::vector<std::string> names;
  for (const Command& command : commands()) {
    EXPECT_TRUE(std::regex_match(command.name, std::regex("[a-z-]+( [a-z-]+)?"))) << command.name;
    EXPECT_FALSE(command.summary.empty());
    EXPECT_FALSE(command.examples.empty()) << command.name;
    EXPECT_EQ(std::count(names.begin(), names.end(), command.name), 0) << command.name;
    names.push_back(command.name);
  }
}

// Examples that name a flag or command that is gone would teach errors.
TEST(Cli, ExamplesUseFlagsThatExist) {
  for (const Command& command : commands()) {
    std::vector<std::string> arguments = split(command.name, ' ');
    arguments.emplace_back("--help-all");
    const std::string help = run(arguments).out;
    const std::string table = run({"options", command.name}).out;
    for (const std::string& example : command.examples) {
      EXPECT_THAT(example, HasSubstr("megalith " + command.name));
      for (const std::string& word : split(example, ' ')) {
        if (word.rfind("--", 0) != 0 || word.size() < 3) continue;
        std::string field = word.substr(2, word.find('=') - 2);
        std::replace(field.begin(), field.end(), '-', '_');
        const bool is_negated = field.rfind("no_", 0) == 0;
        EXPECT_THAT(table, HasSubstr("`" + (is_negated ? field.substr(3) : field) + "`")) << example;
      }
    }
  }
}

TEST(Cli, OptionsPrintsTheTableOfOneCommand) {
  const Outcome outcome = run({"options", "plot"});
  EXPECT_EQ(outcome.status, 0);
  EXPECT_THAT(outcome.out, HasSubstr("| `metric` | text | `loss` |"));
  EXPECT_THAT(outcome.out, Not(HasSubstr("## megalith options")));
  EXPECT_THAT(run({"options"}).out, HasSubstr("## megalith options"));
  EXPECT_EQ(run({"options", "nothing"}).status, 2);
}

TEST(Cli, AFullDiskBehindStdoutIsAFailure) {
  const std::filesystem::path full = "/dev/full";
  if (!std::filesystem::exists(full)) GTEST_SKIP() << "no /dev/full here";
  EXPECT_EXIT(
      {
        if (std::freopen(full.c_str(), "w", stdout) == nullptr) std::exit(99);
        std::exit(run_cli({"options"}));
      },
      ::testing::ExitedWithCode(1), "error: stdout cannot be written: No space left on device");
}

}  // namespace
}  // namespace megalith
