// A library to be loaded before all others (LD_PRELOAD): it counts what one rank does to files in a folder,
// and at one of these calls kills the process, after half of the bytes where it is a write, or begins to
// answer every write with "no space left on device".
//   FAULT_FOLDER: the folder; FAULT_RANK: of OMPI_COMM_WORLD_RANK; FAULT_CALL: counted from 1, 0: none, the
//   number of calls is printed at the end; FAULT_KIND: kill or full
#undef _FORTIFY_SOURCE
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace {

class Fault {
 public:
  Fault() {
    const char* rank = std::getenv("OMPI_COMM_WORLD_RANK");
    const char* wanted = std::getenv("FAULT_RANK");
    folder_ = std::getenv("FAULT_FOLDER");
    is_this_rank_ =
        rank != nullptr && wanted != nullptr && folder_ != nullptr && std::strcmp(rank, wanted) == 0;
    if (!is_this_rank_) return;
    call_ = std::atol(std::getenv("FAULT_CALL"));
    is_full_ = std::strcmp(std::getenv("FAULT_KIND"), "full") == 0;
  }
  ~Fault() {
    if (is_this_rank_ && call_ == 0) std::fprintf(stderr, "fault_at_call: %ld calls\n", count_.load());
  }

  bool concerns(const char* path) const {
    return is_this_rank_ && path != nullptr && std::strncmp(path, folder_, std::strlen(folder_)) == 0;
  }
  bool concerns(int descriptor) const {
    if (!is_this_rank_) return false;
    char link[64], path[4096];
    std::snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    const ssize_t length = ::readlink(link, path, sizeof path - 1);
    if (length < 0) return false;
    path[length] = '\0';
    return concerns(path);
  }

  /// Counts a call; true when it is the one.
  bool is_due() { return ++count_ == call_; }
  bool kills() const { return !is_full_; }
  bool is_full() const { return is_full_ && call_ > 0 && count_ >= call_; }
  [[noreturn]] static void kill() {
    ::kill(::getpid(), SIGKILL);
    std::abort();
  }
  void count_and_kill() {
    if (is_due() && kills()) kill();
  }

 private:
  const char* folder_ = nullptr;
  bool is_this_rank_ = false, is_full_ = false;
  long call_ = 0;
  std::atomic<long> count_ = 0;
};

Fault fault;

template <class Function>
Function* next(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" {

int open(const char* path, int flags, ...) {
  mode_t mode = 0;
  if ((flags & O_CREAT) != 0) {
    va_list list;
    va_start(list, flags);
    mode = va_arg(list, mode_t);
    va_end(list);
    if (fault.concerns(path)) fault.count_and_kill();
  }
  return next<int(const char*, int, ...)>("open")(path, flags, mode);
}

ssize_t write(int descriptor, const void* data, size_t bytes) {
  auto* const real = next<ssize_t(int, const void*, size_t)>("write");
  if (fault.concerns(descriptor)) {
    const bool is_due = fault.is_due();
    if (is_due && fault.kills()) {
      static_cast<void>(real(descriptor, data, bytes / 2));
      Fault::kill();
    }
    if (fault.is_full()) {
      errno = ENOSPC;
      return -1;
    }
  }
  return real(descriptor, data, bytes);
}

int fsync(int descriptor) {
  if (fault.concerns(descriptor)) fault.count_and_kill();
  return next<int(int)>("fsync")(descriptor);
}

int rename(const char* from, const char* to) noexcept {
  if (fault.concerns(from)) fault.count_and_kill();
  return next<int(const char*, const char*)>("rename")(from, to);
}

int mkdir(const char* path, mode_t mode) noexcept {
  if (fault.concerns(path)) fault.count_and_kill();
  return next<int(const char*, mode_t)>("mkdir")(path, mode);
}

int unlinkat(int folder, const char* path, int flags) noexcept {
  if (fault.concerns(folder) || fault.concerns(path)) fault.count_and_kill();
  return next<int(int, const char*, int)>("unlinkat")(folder, path, flags);
}

}  // extern "C"
