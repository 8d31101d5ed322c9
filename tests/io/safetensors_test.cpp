#include "megalith/io/safetensors.h"

#include <cstring>
#include <random>
#include <string>

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::ThrowsMessage;

/// A file after the format's own description: length, header, data.
std::string file_text(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  return std::string(reinterpret_cast<const char*>(&length), 8) + header + data;
}

class SafetensorsTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::temp_directory_path() /
        fmt::format("mg_st_{}_{}", getpid(), testing::UnitTest::GetInstance()->current_test_info()->name());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  /// Without a flush to the disk, which a new name needs too: the fuzz loop writes many.
  std::filesystem::path put(const std::string& name, const std::string& text) const {
    const std::filesystem::path path = directory_ / name;
    FILE* file = std::fopen(path.c_str(), "wb");
    EXPECT_EQ(std::fwrite(text.data(), 1, text.size(), file), text.size());
    std::fclose(file);
    return path;
  }
  void expect_rejected(const std::string& header, const std::string& data, const std::string& message) const {
    const std::filesystem::path path = put("bad.safetensors", file_text(header, data));
    EXPECT_THAT([&] { SafetensorsFile file(path); },
                ThrowsMessage<Error>(AllOf(HasSubstr("bad.safetensors"), HasSubstr(message))))
        << header;
  }

  std::filesystem::path directory_;
};

std::span<const std::byte> bytes_of(const std::string& text) {
  return std::as_bytes(std::span(text));
}

TEST_F(SafetensorsTest, ReadsTheFormat) {
  const std::string header =
      R"({"__metadata__":{"format":"pt"},"b":{"dtype":"F32","shape":[2,1],"data_offsets":[2,10]},)"
      R"("a":{"dtype":"BF16","shape":[],"data_offsets":[0,2]},"none":{"dtype":"I64","shape":[0,3],"data_offsets":[2,2]}}   )";
  const SafetensorsFile file(put("a.safetensors", file_text(header, "\x80\x3f" + std::string(8, 'x'))));
  ASSERT_EQ(file.entries().size(), 3u);
  EXPECT_EQ(file.metadata().at("format"), "pt");
  EXPECT_EQ(file.at("a").info.dtype, DType::kBF16);
  EXPECT_EQ(file.at("a").info.shape.rank(), 0);
  EXPECT_EQ(file.at("b").info.shape, (Shape{2, 1}));
  EXPECT_EQ(file.at("b").bytes.size(), 8u);
  EXPECT_EQ(file.at("none").bytes.size(), 0u);
  EXPECT_EQ(static_cast<int>(file.at("a").bytes[1]), 0x3f);
  EXPECT_EQ(file.find("c"), nullptr);
  EXPECT_THAT([&] { file.at("nome"); },
              ThrowsMessage<Error>(AllOf(HasSubstr("no tensor 'nome'"), HasSubstr("'none'"))));
}

TEST_F(SafetensorsTest, WritesWhatItReads) {
  const std::vector<TensorInfo> infos = {
      {"w", DType::kF32, {2, 3}}, {"e", DType::kU8, {0}}, {"b", DType::kI32, {5}}};
  const std::string w(24, 'w'), b(20, 'b');
  SafetensorsWriter writer(directory_ / "w.safetensors", infos, {{"made by", "a test"}});
  writer.add(bytes_of(w.substr(0, 7)));
  writer.add(bytes_of(w.substr(7) + b));
  EXPECT_FALSE(std::filesystem::exists(directory_ / "w.safetensors"));
  writer.commit();

  const SafetensorsFile file(directory_ / "w.safetensors");
  EXPECT_EQ(std::memcmp(file.at("w").bytes.data(), w.data(), 24), 0);
  EXPECT_EQ(std::memcmp(file.at("b").bytes.data(), b.data(), 20), 0);
  EXPECT_EQ(file.at("e").info.dtype, DType::kU8);
  EXPECT_EQ(file.metadata().at("made by"), "a test");
  EXPECT_EQ(writer.checksum(), xxh64(file.bytes()));
  EXPECT_EQ((file.bytes().size() - 44) % 8, 0u) << "the data is aligned";
}

TEST_F(SafetensorsTest, WriterHoldsTheCallerToTheAnnouncement) {
  const std::vector<TensorInfo> infos = {{"w", DType::kF32, {2}}};
  SafetensorsWriter writer(directory_ / "w.safetensors", infos);
  writer.add(bytes_of("1234567"));
  EXPECT_THAT([&] { writer.commit(); }, ThrowsMessage<Error>(HasSubstr("1 bytes of tensors are missing")));
  EXPECT_THAT([&] { writer.add(bytes_of("12")); }, ThrowsMessage<Error>(HasSubstr("more bytes")));
  const std::vector<TensorInfo> twice = {{"w", DType::kF32, {2}}, {"w", DType::kF32, {2}}};
  EXPECT_THAT([&] { SafetensorsWriter(directory_ / "x", twice); }, ThrowsMessage<Error>(HasSubstr("twice")));
  const std::vector<TensorInfo> broken = {{"w\xff", DType::kF32, {2}}};
  EXPECT_THAT([&] { SafetensorsWriter(directory_ / "x", broken); }, ThrowsMessage<Error>(HasSubstr("UTF-8")));
}

TEST_F(SafetensorsTest, NamesFileTensorAndRule) {
  expect_rejected("[]", "", "does not begin with {");
  expect_rejected("{", "", "not valid JSON");
  expect_rejected("{\"a\xff\":1}", "", "not valid JSON");
  expect_rejected("{}", "xy", "cover 0 of 2 bytes");
  expect_rejected(R"({"a":3})", "", "tensor 'a'");
  expect_rejected(R"({"__metadata__":{"k":1}})", "", "'k' is not a string");
  const auto entry = [](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return R"({"a":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}}";
  };
  expect_rejected(entry("C64", "[1]", "[0,8]"), "12345678",
                  "tensor 'a': dtype C64 is not read; allowed: F64");
  expect_rejected(entry("F32", "[3]", "[0,8]"), "12345678", "F32 [3] needs 12 bytes, its offsets give 8");
  expect_rejected(entry("F32", "[2]", "[0,8]"), "1234", "outside the 4 bytes");
  expect_rejected(entry("F32", "[2]", "[8,0]"), "12345678", "outside");
  expect_rejected(entry("F32", "[-2]", "[0,8]"), "12345678", "shape holds -2");
  expect_rejected(entry("F32", "[2.0]", "[0,8]"), "12345678", "shape holds 2.0");
  expect_rejected(entry("F32", "[4611686018427387904,4]", "[0,8]"), "12345678", "too large");
  expect_rejected(entry("F32", "[1,1,1,1,1,1,2]", "[0,8]"), "12345678", "7 dimensions");
  expect_rejected(entry("F32", "2", "[0,8]"), "12345678", "shape is not a list");
  expect_rejected(entry("F32", "[2]", "[0]"), "12345678", "not a pair");
  expect_rejected(R"({"a":{"dtype":"U8","shape":[1]}})", "1", "data_offsets is missing");
  expect_rejected(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1],"x":0}})", "1", "unknown key 'x'");
  const std::string one = R"({"dtype":"U8","shape":[1],"data_offsets":[0,1]})";
  expect_rejected("{\"a\":" + one + ",\"a\":" + one + "}", "1", "'a' comes twice");
  expect_rejected("{\"a\":" + one + ",\"b\":" + one + "}", "1", "overlap");
  expect_rejected(R"({"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}})", "12", "hole");

  EXPECT_THAT([&] { SafetensorsFile file(put("short", "1234")); },
              ThrowsMessage<Error>(HasSubstr("too few")));
  EXPECT_THAT([&] { SafetensorsFile file(put("cut", file_text("{}      ", "").substr(0, 12))); },
              ThrowsMessage<Error>(HasSubstr("cut off")));
  EXPECT_THAT([&] { SafetensorsFile file(put("large", std::string(64, '\xff'))); },
              ThrowsMessage<Error>(HasSubstr("at most 100000000")));
}

TEST_F(SafetensorsTest, SurvivesRandomDamage) {
  const std::vector<TensorInfo> infos = {{"w", DType::kF32, {2, 3}}, {"b", DType::kBF16, {4}}};
  SafetensorsWriter writer(directory_ / "good", infos, {{"k", "v"}});
  writer.add(bytes_of(std::string(32, 'x')));
  writer.commit();
  const std::string good = read_text_file(directory_ / "good");
  const size_t header_end = good.size() - 32;
  std::mt19937 random(11);
  int read = 0;
  for (int round = 0; round < 4000; ++round) {
    std::string bad = good;
    for (unsigned k = 0; k <= random() % 3; ++k) {
      const size_t at = random() % 4 == 0 ? random() % 8 : 8 + random() % (header_end - 8);
      // Half of the time something of the header's own alphabet, so that the damage passes the JSON parser.
      bad[at] = random() % 2 == 0 ? static_cast<char>(random()) : good[8 + random() % (header_end - 8)];
    }
    if (random() % 8 == 0) bad.resize(random() % bad.size());
    try {
      const SafetensorsFile file(put(fmt::format("fuzz{}", round), bad));
      size_t total = 0;
      for (const SafetensorsEntry& entry : file.entries()) {
        EXPECT_EQ(static_cast<int64_t>(entry.bytes.size()), entry.info.nbytes());
        total += xxh64(entry.bytes) != 0 ? entry.bytes.size() : 0;  // touches every byte
      }
      EXPECT_EQ(total + header_end, bad.size());
      ++read;
    } catch (const Error&) {
    }
  }
  EXPECT_GT(read, 10);
  EXPECT_LT(read, 3000);
}

}  // namespace
}  // namespace megalith
