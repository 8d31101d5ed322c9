#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "megalith/base/files.h"
#include "megalith/cli/cli.h"
#include "megalith/data/input_files.h"

#include "tests/report/temporary_directory.h"

namespace megalith {
namespace {
using ::testing::ElementsAre;
using ::testing::HasSubstr;

class DataCommands : public ::testing::Test {
 protected:
  void SetUp() override {
    make_directories(directory_.path() / "source");
    for (int i = 0; i < 4; ++i) {
      std::string text;
      for (int line = 0; line < 200; ++line)
        text += fmt::format("int value_{} = {};\n", line % (i + 7), line);
      write_text_file(directory_.path() / "source" / fmt::format("{}.cpp", i), text);
    }
    write_text_file(directory_.path() / "source" / "notes.txt", "not code");
  }
  std::string at(const std::string& name) const { return (directory_.path() / name).string(); }

  /// Status, and what went to stdout and stderr.
  int run(const std::vector<std::string>& arguments) {
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int status = run_cli(arguments);
    out_ = ::testing::internal::GetCapturedStdout();
    err_ = ::testing::internal::GetCapturedStderr();
    return status;
  }
  testing::TemporaryDirectory directory_;
  std::string out_;
  std::string err_;
};

TEST_F(DataCommands, FilesOfDirectoriesAreFilteredAndSorted) {
  make_directories(directory_.path() / "source" / ".hidden");
  write_text_file(directory_.path() / "source" / ".hidden" / "x.cpp", "hidden");
  const std::vector<std::filesystem::path> files = input_files({at("source")}, {".cpp"});
  ASSERT_EQ(files.size(), 4u);
  EXPECT_EQ(files[0], at("source/0.cpp"));
  EXPECT_EQ(files[3], at("source/3.cpp"));
  EXPECT_THAT(input_files({at("source/notes.txt")}, {".cpp"}), ElementsAre(at("source/notes.txt")));
  EXPECT_EQ(input_files({at("source")}, {}).size(), 5u);
}

TEST_F(DataCommands, FromTextToIndices) {
  ASSERT_EQ(run({"tokenizer", "train", at("source"), "--extensions", ".cpp", "--vocab-size", "300",
                 "--output", at("tokenizer.json"), "--num-threads", "1"}),
            0)
      << err_;
  EXPECT_EQ(out_, at("tokenizer.json") + "\n");
  ASSERT_EQ(run({"preprocess", at("source"), "--extensions", ".cpp", "--tokenizer-model",
                 at("tokenizer.json"), "--output-prefix", at("code"), "--append-eod", "--workers", "1"}),
            0)
      << err_;
  EXPECT_EQ(out_, at("code_text_document") + "\n");
  ASSERT_EQ(run({"data", "inspect", at("code_text_document"), "--tokenizer-model", at("tokenizer.json"),
                 "--dump-index", at("order"), "--seq-length", "16"}),
            0)
      << err_;
  EXPECT_THAT(out_, HasSubstr("documents   4"));
  EXPECT_THAT(out_, HasSubstr("int value_0 = 0;"));
  EXPECT_TRUE(std::filesystem::exists(at("order/shuffle_index.npy")));
}

TEST_F(DataCommands, AVocabularySmallerThanAskedForIsTold) {
  ASSERT_EQ(run({"tokenizer", "train", at("source"), "--output", at("small.json"), "--vocab-size", "9999"}),
            0);
  EXPECT_THAT(err_, HasSubstr("of the 9999 asked for"));
  ASSERT_EQ(run({"tokenizer", "train", at("source"), "--output", at("full.json"), "--vocab-size", "260"}), 0);
  EXPECT_THAT(err_, Not(HasSubstr("asked for")));
}

TEST_F(DataCommands, WrongInputsAreNamed) {
  EXPECT_EQ(run({"tokenizer", "train", at("absent")}), 1);
  EXPECT_THAT(err_, HasSubstr("absent: there is no such file or directory"));
  EXPECT_EQ(run({"tokenizer", "train", at("source"), "--extensions", ".rs"}), 1);
  EXPECT_THAT(err_, HasSubstr("no file with extension .rs"));
  EXPECT_EQ(run({"tokenizer", "train", at("source"), "--vocab-size", "10"}), 2);
  EXPECT_THAT(err_, HasSubstr("--vocab-size: '10' is not allowed; it takes an integer >= 257"));
  write_text_file(at("in_the_way"), "");
  for (const std::string& output :
       {at("in_the_way") + "/t.json", at("source"), std::string("/proc/t.json")}) {
    EXPECT_EQ(run({"tokenizer", "train", at("source"), "--output", output}), 1);
    EXPECT_THAT(err_, HasSubstr("error: "));
    EXPECT_THAT(err_, Not(HasSubstr("learn merges"))) << "told before the work, not behind it";
  }
  EXPECT_EQ(run({"preprocess", at("source"), "--output-prefix", at("x")}), 2);
  EXPECT_THAT(err_, HasSubstr("--tokenizer-model is missing"));
  EXPECT_EQ(
      run({"preprocess", at("source"), "--output-prefix", at("x"), "--tokenizer-model", at("absent.json")}),
      1);
  EXPECT_THAT(err_, HasSubstr("absent.json"));
  EXPECT_EQ(run({"data", "inspect", at("absent")}), 1);
  EXPECT_THAT(err_, HasSubstr("absent"));
}

}  // namespace
}  // namespace megalith
