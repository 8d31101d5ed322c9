#include "megalith/core/memory/host_pages.h"

#include <cerrno>
#include <vector>

#include <sys/mman.h>
#include <unistd.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {

constexpr int64_t kPageBytes = int64_t{2} << 20;

class HostPages final : public PageSource {
 public:
  ~HostPages() override {
    for (const auto& [data, bytes] : reservations_) munmap(data, bytes);
  }

  int64_t page_bytes() const override { return kPageBytes; }

  std::byte* reserve(int64_t bytes) override {
    const auto size = static_cast<size_t>(bytes + kPageBytes);  // room to begin at a huge page
    void* data = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    MG_CHECK(data != MAP_FAILED, "the machine refuses {} of addresses: {}",
             human_bytes(static_cast<double>(bytes)), system_message(errno));
    reservations_.push_back({data, size});
    const auto place = reinterpret_cast<uintptr_t>(data);
    const uintptr_t page = kPageBytes;
    return static_cast<std::byte*>(data) + (page - place % page) % page;
  }

  bool map(std::byte* at, int64_t num_pages) override {
    const auto size = static_cast<size_t>(num_pages * kPageBytes);
    if (mprotect(at, size, PROT_READ | PROT_WRITE) != 0) return false;
    madvise(at, size, MADV_HUGEPAGE);
    return true;
  }

  void unmap(std::span<std::byte* const> pages) override {
    for (std::byte* page : pages) {
      madvise(page, kPageBytes, MADV_DONTNEED);
      mprotect(page, kPageBytes, PROT_NONE);
    }
  }

  void share_with(int) override {}

 private:
  std::vector<std::pair<void*, size_t>> reservations_;
};

}  // namespace

std::unique_ptr<PageSource> make_host_pages() {
  return std::make_unique<HostPages>();
}

int64_t host_memory_bytes() {
  return int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE);
}

}  // namespace megalith
