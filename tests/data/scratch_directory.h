#pragma once
// defines: ScratchDirectory, write_bytes

#include <cstdio>
#include <filesystem>
#include <string>
#include <string_view>

#include <gtest/gtest.h>
#include <unistd.h>

namespace megalith {

/// A fresh directory for one test, removed with the object.
class ScratchDirectory {
 public:
  ScratchDirectory() {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    // In memory where there is such a place: what is tested flushes each file to the disk.
    const std::filesystem::path memory = "/dev/shm";
    path_ = std::filesystem::exists(memory) ? memory : std::filesystem::temp_directory_path();
    path_ /=
        std::string("mg_") + test->test_suite_name() + "_" + test->name() + "_" + std::to_string(getpid());
    std::filesystem::remove_all(path_);
    std::filesystem::create_directories(path_);
  }
  ~ScratchDirectory() { std::filesystem::remove_all(path_); }
  ScratchDirectory(const ScratchDirectory&) = delete;
  ScratchDirectory& operator=(const ScratchDirectory&) = delete;

  std::string operator/(std::string_view name) const { return (path_ / name).string(); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

/// Without the flush to the disk that write_text_file does, for tests that write many files.
inline void write_bytes(const std::string& path, std::string_view bytes) {
  FILE* file = std::fopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr) << path;
  ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), file), bytes.size());
  ASSERT_EQ(std::fclose(file), 0);
}

}  // namespace megalith
