#include "megalith/io/npy.h"

#include <cstring>
#include <filesystem>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"

namespace megalith {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

class NpyTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::temp_directory_path() /
        fmt::format("mg_npy_{}_{}", getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::filesystem::path directory_;
};

TEST_F(NpyTest, WritesTheBytesThatNumpyWrites) {
  const std::vector<uint16_t> values{1, 2, 0xABCD};
  write_npy<uint16_t>(directory_ / "a.npy", values, {3});
  // numpy.save of numpy.array([1, 2, 0xABCD], dtype=uint16)
  std::string header = "{'descr': '<u2', 'fortran_order': False, 'shape': (3,), }";
  header.append(128 - 10 - header.size() - 1, ' ');
  header += '\n';
  const std::string expected =
      std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + std::string("\x01\x00\x02\x00\xCD\xAB", 6);
  EXPECT_EQ(read_text_file(directory_ / "a.npy"), expected);
}

TEST_F(NpyTest, RoundTripsEveryTypeAndRank) {
  const std::vector<float> matrix{1, 2, 3, 4, 5, 6};
  write_npy<float>(directory_ / "f.npy", matrix, {2, 3});
  const NpyArray read = read_npy(directory_ / "f.npy");
  EXPECT_EQ(read.type(), NpyType::kFloat32);
  EXPECT_THAT(read.shape(), ElementsAre(2, 3));
  EXPECT_THAT(read.values<float>(), ElementsAre(1, 2, 3, 4, 5, 6));

  const std::vector<int64_t> scalar{-7};
  write_npy<int64_t>(directory_ / "s.npy", scalar, {});
  EXPECT_TRUE(read_npy(directory_ / "s.npy").shape().empty());
  EXPECT_THAT(read_npy(directory_ / "s.npy").values<int64_t>(), ElementsAre(-7));

  write_npy<int8_t>(directory_ / "e.npy", {}, {0});
  EXPECT_EQ(read_npy(directory_ / "e.npy").num_elements(), 0);
  EXPECT_EQ(read_npy(directory_ / "e.npy").type(), NpyType::kInt8);
}

TEST_F(NpyTest, NamesFileAndRuleOfWhatIsWrong) {
  const std::vector<int32_t> values{1, 2, 3, 4};
  write_npy<int32_t>(directory_ / "a.npy", values, {4});
  const std::string good = read_text_file(directory_ / "a.npy");
  EXPECT_THAT([&] { read_npy(directory_ / "a.npy").values<int64_t>(); },
              ThrowsMessage<Error>(HasSubstr("holds int32, not int64")));
  const auto rejects = [&](const std::string& text, const char* message) {
    write_text_file(directory_ / "b.npy", text);
    EXPECT_THAT([&] { read_npy(directory_ / "b.npy"); },
                ThrowsMessage<Error>(testing::AllOf(HasSubstr("b.npy"), HasSubstr(message))));
  };
  const auto replaced = [&](const char* from, const char* to) {
    std::string text = good;
    return text.replace(text.find(from), std::strlen(from), to);
  };
  rejects("", "not a .npy file");
  rejects("PK" + good, "not a .npy file");
  rejects(good.substr(0, 60), "cut off");
  rejects(good.substr(0, good.size() - 1), "needs 16 bytes of data, the file has 15");
  rejects(good + "x", "the file has 17");
  rejects(replaced("<i4", ">i4"), "element type");
  rejects(replaced("False", "True "), "C order");
  rejects(replaced("(4,)", "(-4)"), "shape");
  EXPECT_THAT([&] { read_npy(directory_ / "none.npy"); }, ThrowsMessage<Error>(HasSubstr("none.npy")));
}

TEST_F(NpyTest, SurvivesRandomDamage) {
  const std::vector<int32_t> values{1, 2, 3, 4, 5, 6};
  write_npy<int32_t>(directory_ / "a.npy", values, {2, 3});
  const std::string good = read_text_file(directory_ / "a.npy");
  std::mt19937 random(7);
  for (int round = 0; round < 300; ++round) {
    std::string bad = good;
    for (int k = 0; k < 3; ++k) bad[random() % 80] = static_cast<char>(random());
    if (random() % 4 == 0) bad.resize(random() % bad.size());
    // A fresh name each time: this loop is about parsing, not about flushing files to the disk.
    const auto path = directory_ / fmt::format("{}.npy", round);
    FILE* file = std::fopen(path.c_str(), "wb");
    std::fwrite(bad.data(), 1, bad.size(), file);
    std::fclose(file);
    try {
      const NpyArray array = read_npy(path);
      EXPECT_EQ(static_cast<int64_t>(array.bytes().size()),
                array.num_elements() * npy_item_bytes(array.type()));
    } catch (const Error&) {
    }
  }
}

TEST(MmapFile, MapsAndNamesThePath) {
  const auto path = std::filesystem::temp_directory_path() / fmt::format("mg_mmap_{}", getpid());
  write_text_file(path, "hello");
  MmapFile file(path);
  EXPECT_EQ(file.size(), 5);
  EXPECT_EQ(std::memcmp(file.bytes().data(), "hello", 5), 0);
  MmapFile moved(std::move(file));
  EXPECT_EQ(moved.size(), 5);
  write_text_file(path, "");
  EXPECT_EQ(MmapFile(path).size(), 0);
  std::filesystem::remove(path);
  EXPECT_THAT([&] { MmapFile gone(path); }, ThrowsMessage<Error>(HasSubstr(path.string())));
  EXPECT_THAT([] { MmapFile directory("/tmp"); }, ThrowsMessage<Error>(HasSubstr("/tmp")));
}

}  // namespace
}  // namespace megalith
