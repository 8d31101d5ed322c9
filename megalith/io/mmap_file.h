#pragma once
// defines: MmapFile

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>

namespace megalith {

/// A file mapped for reading. The bytes stay valid, and may be read by any number of threads, as long as the
/// object lives. An empty file maps to no bytes. Every failure throws Error with the path.
class MmapFile {
 public:
  explicit MmapFile(std::filesystem::path path);
  MmapFile(MmapFile&& other) noexcept;
  MmapFile& operator=(MmapFile&& other) noexcept;
  ~MmapFile();

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  int64_t size() const { return static_cast<int64_t>(size_); }
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace megalith
