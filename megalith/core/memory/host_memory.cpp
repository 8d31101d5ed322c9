#include "megalith/core/memory/host_memory.h"

#include <cerrno>
#include <cstdlib>

#include <sys/mman.h>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/text.h"

namespace megalith {
namespace {
constexpr int64_t kHugePage = 2 << 20;
}  // namespace

std::byte* host_map(int64_t bytes) {
  void* data = nullptr;
  const size_t alignment = bytes >= kHugePage ? kHugePage : 64;
  const int error = posix_memalign(&data, alignment, static_cast<size_t>(bytes));
  MG_CHECK(error == 0, "the machine refuses {} of memory: {}", human_bytes(static_cast<double>(bytes)),
           system_message(error));
  if (bytes >= kHugePage) madvise(data, static_cast<size_t>(bytes), MADV_HUGEPAGE);
  return static_cast<std::byte*>(data);
}

void host_unmap(std::byte* data, int64_t) {
  std::free(data);
}

}  // namespace megalith
