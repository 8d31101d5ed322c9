#pragma once
// defines: AtomicFile, read_text_file, write_text_file, sync_directory, make_directories, system_message

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>

namespace megalith {

/// "No such file or directory" and the like for an errno value.
std::string system_message(int error_number);

/// A file that appears whole or not at all: written beside its place as `.NAME.PID.tmp`, flushed to the disk
/// and renamed by commit(). Without commit() the destructor removes it. Every failure (full disk, no
/// permission) throws Error with the path.
class AtomicFile {
 public:
  explicit AtomicFile(std::filesystem::path path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  void write(const void* data, size_t bytes);
  void write(std::string_view text) { write(text.data(), text.size()); }
  template <class T>
  void write_pod(const T& value) {
    write(&value, sizeof value);
  }
  template <class T>
  void write_span(std::span<const T> values) {
    write(values.data(), values.size_bytes());
  }
  /// Overwrites bytes written before, for headers that are known last.
  void write_at(int64_t offset, const void* data, size_t bytes);
  int64_t bytes_written() const { return bytes_written_; }
  void commit();

  const std::filesystem::path& path() const { return path_; }

 private:
  void flush();
  void write_through(const std::byte* data, size_t bytes);
  [[noreturn]] void fail_write(int error_number) const;

  std::filesystem::path path_;
  std::filesystem::path temporary_;
  std::string buffer_;
  int descriptor_ = -1;
  int64_t bytes_written_ = 0;
};

/// The whole of a file; throws Error naming it.
std::string read_text_file(const std::filesystem::path& path);

/// Through an AtomicFile.
void write_text_file(const std::filesystem::path& path, std::string_view text);

/// Makes the names in a directory durable.
void sync_directory(const std::filesystem::path& directory);

/// Creates the directory and its parents; throws Error naming it and the reason.
void make_directories(const std::filesystem::path& directory);

}  // namespace megalith
