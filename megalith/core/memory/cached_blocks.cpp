#include "megalith/core/memory/cached_blocks.h"

#include <algorithm>
#include <bit>

#include "megalith/base/math.h"

namespace megalith {
namespace {

constexpr int64_t kMinBytes = 64;
constexpr int64_t kLargeBytes = 64 << 10;

}  // namespace

CachedBlocks::~CachedBlocks() {
  CachedBlocks::trim(held_bytes_);
}

// Requests that differ a little share blocks: sizes go in eight steps per power of two while blocks are
// small, in 64 once the waste would count.
int64_t CachedBlocks::rounded(int64_t bytes) const {
  if (bytes <= 8 * kMinBytes) return round_up(std::max<int64_t>(bytes, 1), kMinBytes);
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes)));
  return round_up(bytes, bytes < kLargeBytes ? power / 8 : power / 64);
}

std::byte* CachedBlocks::take(int64_t bytes) {
  const auto place = free_.find(bytes);
  if (place != free_.end() && !place->second.empty()) {
    std::byte* data = place->second.back();
    place->second.pop_back();
    return data;
  }
  std::byte* data = source_.map(bytes);
  if (data != nullptr) held_bytes_ += bytes;
  return data;
}

void CachedBlocks::give_back(std::byte* data, int64_t bytes) {
  free_[bytes].push_back(data);
}

void CachedBlocks::trim(int64_t) {
  for (auto& [size, blocks] : free_) {
    for (std::byte* data : blocks) source_.unmap(data, size);
    held_bytes_ -= size * static_cast<int64_t>(blocks.size());
  }
  free_.clear();
}

}  // namespace megalith
