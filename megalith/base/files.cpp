#include "megalith/base/files.h"

#include <cerrno>
#include <cstring>
#include <system_error>
#include <utility>

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "megalith/base/error.h"

namespace megalith {
namespace {
constexpr size_t kBufferBytes = 1 << 20;
}  // namespace

std::string system_message(int error_number) {
  return std::generic_category().message(error_number);
}

AtomicFile::AtomicFile(std::filesystem::path path) : path_(std::move(path)) {
  temporary_ = path_.parent_path() / fmt::format(".{}.{}.tmp", path_.filename().string(), getpid());
  descriptor_ = ::open(temporary_.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0666);
  MG_CHECK(descriptor_ >= 0, "{}: cannot be written: {}", path_.string(), system_message(errno));
  buffer_.reserve(kBufferBytes);
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)),
      buffer_(std::move(other.buffer_)),
      descriptor_(std::exchange(other.descriptor_, -1)),
      bytes_written_(other.bytes_written_) {}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::fail_write(int error_number) const {
  fail("{}: writing failed after {} bytes: {}", path_.string(), bytes_written_, system_message(error_number));
}

void AtomicFile::write_through(const std::byte* data, size_t bytes) {
  while (bytes > 0) {
    const ssize_t written = ::write(descriptor_, data, bytes);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_write(errno);
    data += written;
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::flush() {
  write_through(reinterpret_cast<const std::byte*>(buffer_.data()), buffer_.size());
  buffer_.clear();
}

void AtomicFile::write(const void* data, size_t bytes) {
  if (buffer_.size() + bytes > kBufferBytes) flush();
  if (bytes >= kBufferBytes) {
    write_through(static_cast<const std::byte*>(data), bytes);
  } else {
    buffer_.append(static_cast<const char*>(data), bytes);
  }
  bytes_written_ += static_cast<int64_t>(bytes);
}

void AtomicFile::write_at(int64_t offset, const void* data, size_t bytes) {
  flush();
  const auto* next = static_cast<const std::byte*>(data);
  while (bytes > 0) {
    const ssize_t written = ::pwrite(descriptor_, next, bytes, offset);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail_write(errno);
    next += written;
    offset += written;
    bytes -= static_cast<size_t>(written);
  }
}

void AtomicFile::commit() {
  flush();
  if (::fsync(descriptor_) != 0) fail_write(errno);
  if (::close(std::exchange(descriptor_, -1)) != 0) fail_write(errno);
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) {
    const int error_number = errno;
    ::unlink(temporary_.c_str());
    fail("{}: cannot be published: {}", path_.string(), system_message(error_number));
  }
  sync_directory(path_.parent_path());
}

std::string read_text_file(const std::filesystem::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  MG_CHECK(descriptor >= 0, "{}: cannot be read: {}", path.string(), system_message(errno));
  std::string text;
  char chunk[1 << 16];
  while (true) {
    const ssize_t got = ::read(descriptor, chunk, sizeof chunk);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) {
      const int error_number = errno;
      ::close(descriptor);
      fail("{}: cannot be read: {}", path.string(), system_message(error_number));
    }
    if (got == 0) break;
    text.append(chunk, static_cast<size_t>(got));
  }
  ::close(descriptor);
  return text;
}

void write_text_file(const std::filesystem::path& path, std::string_view text) {
  AtomicFile file(path);
  file.write(text);
  file.commit();
}

void sync_directory(const std::filesystem::path& directory) {
  const std::filesystem::path place = directory.empty() ? "." : directory;
  const int descriptor = ::open(place.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  MG_CHECK(descriptor >= 0, "{}: cannot be opened: {}", place.string(), system_message(errno));
  const int result = ::fsync(descriptor);
  const int error_number = errno;
  ::close(descriptor);
  // Some file systems do not know how to flush a directory and say EINVAL.
  MG_CHECK(result == 0 || error_number == EINVAL, "{}: cannot be flushed: {}", place.string(),
           system_message(error_number));
}

void make_directories(const std::filesystem::path& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  MG_CHECK(!error, "{}: the directory cannot be made: {}", directory.string(), error.message());
}

}  // namespace megalith
