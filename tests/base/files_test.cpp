#include "megalith/base/files.h"

#include <csignal>
#include <cstdlib>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

class FilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = (std::filesystem::temp_directory_path() / "mg_files_XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    directory_ = name;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  int64_t num_entries() const {
    return std::distance(std::filesystem::directory_iterator(directory_),
                         std::filesystem::directory_iterator());
  }

  std::filesystem::path directory_;
};

// Runs `body` in a child process, which may change its own limits; true when it found what it expected.
template <class Body>
bool in_child(const Body& body) {
  const pid_t child = ::fork();
  if (child == 0) ::_exit(body() ? 0 : 1);
  int status = 0;
  ::waitpid(child, &status, 0);
  return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

TEST_F(FilesTest, AppearsAtTheCommitAndNotBefore) {
  const std::filesystem::path path = directory_ / "a.bin";
  AtomicFile file(path);
  file.write("header--");
  file.write_pod(uint32_t{7});
  EXPECT_FALSE(std::filesystem::exists(path));
  file.write_at(0, "HEAD", 4);
  EXPECT_EQ(file.bytes_written(), 12);
  file.commit();
  EXPECT_EQ(read_text_file(path), std::string("HEADer--\7\0\0\0", 12));
  EXPECT_EQ(num_entries(), 1);
}

TEST_F(FilesTest, WithoutCommitTheOldFileStays) {
  const std::filesystem::path path = directory_ / "a.txt";
  write_text_file(path, "old");
  {
    AtomicFile file(path);
    file.write("new");
  }
  EXPECT_EQ(read_text_file(path), "old");
  EXPECT_EQ(num_entries(), 1);
  write_text_file(path, "new");
  EXPECT_EQ(read_text_file(path), "new");
}

TEST_F(FilesTest, AMovedFileHasOneOwner) {
  const std::filesystem::path path = directory_ / "a.txt";
  AtomicFile first(path);
  first.write("text");
  AtomicFile second(std::move(first));
  second.write(" and more");
  second.commit();
  EXPECT_EQ(read_text_file(path), "text and more");
}

TEST_F(FilesTest, LargeWritesKeepTheirOrder) {
  const std::filesystem::path path = directory_ / "a.bin";
  std::string expected;
  AtomicFile file(path);
  for (const size_t size : {1u, 700000u, 700000u, 3u, 2500000u, 5u}) {
    const std::string part(size, static_cast<char>('a' + expected.size() % 26));
    file.write(part);
    expected += part;
  }
  file.commit();
  EXPECT_TRUE(read_text_file(path) == expected);
}

TEST_F(FilesTest, AFullDiskIsAnErrorThatLeavesNothingBehind) {
  const std::filesystem::path path = directory_ / "big.bin";
  write_text_file(path, "old");
  EXPECT_TRUE(in_child([&] {
    // A limit on the size of files fails as a full disk does, at a point that we choose.
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100000, 100000};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      write_text_file(path, std::string(4 << 20, 'x'));
    } catch (const Error& error) {
      const std::string message = error.what();
      return message.find(path.string() + ": writing failed") != std::string::npos &&
             message.find("File too large") != std::string::npos && num_entries() == 1;
    }
    return false;
  }));
  EXPECT_EQ(read_text_file(path), "old");
}

TEST_F(FilesTest, ADirectoryThatCannotBeWrittenIsNamed) {
  EXPECT_THAT(
      [&] { write_text_file(directory_ / "missing" / "a.txt", "x"); },
      ThrowsMessage<Error>(AllOf(HasSubstr("missing/a.txt: cannot be written"), HasSubstr("No such file"))));
  write_text_file(directory_ / "file", "x");
  EXPECT_THAT([&] { write_text_file(directory_ / "file" / "a.txt", "x"); },
              ThrowsMessage<Error>(HasSubstr("Not a directory")));
  EXPECT_THAT([&] { make_directories(directory_ / "file" / "sub"); },
              ThrowsMessage<Error>(HasSubstr("the directory cannot be made")));
  if (::geteuid() == 0) return;  // root may write everywhere
  std::filesystem::permissions(directory_,
                               std::filesystem::perms::owner_read | std::filesystem::perms::owner_exec);
  EXPECT_THAT([&] { write_text_file(directory_ / "a.txt", "x"); },
              ThrowsMessage<Error>(HasSubstr("Permission denied")));
  std::filesystem::permissions(directory_, std::filesystem::perms::owner_all);
}

TEST_F(FilesTest, PublishingOverADirectoryFailsCleanly) {
  std::filesystem::create_directories(directory_ / "taken" / "inside");
  EXPECT_THAT([&] { write_text_file(directory_ / "taken", "x"); },
              ThrowsMessage<Error>(HasSubstr("taken: cannot be published")));
  EXPECT_EQ(num_entries(), 1);
}

TEST_F(FilesTest, AMissingFileIsNamed) {
  EXPECT_THAT([&] { read_text_file(directory_ / "none"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("none: cannot be read"), HasSubstr("No such file"))));
  EXPECT_THAT([&] { read_text_file(directory_); }, ThrowsMessage<Error>(HasSubstr("Is a directory")));
}

}  // namespace
}  // namespace megalith
