#include "megalith/core/memory/segment_blocks.h"

#include <algorithm>

#include "megalith/base/math.h"

namespace megalith {
namespace {

// What blocks are aligned to, and what is lost of one at most.
constexpr int64_t kSmallUnit = 512;
constexpr int64_t kLargeUnit = 64 << 10;

}  // namespace

SegmentBlocks::SegmentBlocks(std::unique_ptr<PageSource> small_pages, std::unique_ptr<PageSource> large_pages,
                             int64_t address_bytes)
    : small_pages_(std::move(small_pages)),
      large_pages_(std::move(large_pages)),
      small_(*small_pages_, round_up(address_bytes, small_pages_->page_bytes())),
      large_(*large_pages_, round_up(address_bytes, large_pages_->page_bytes())) {}

int64_t SegmentBlocks::rounded(int64_t bytes) const {
  const int64_t small = round_up(std::max<int64_t>(bytes, 1), kSmallUnit);
  return small < kSmallBytes ? small : round_up(bytes, kLargeUnit);
}

void SegmentBlocks::trim(int64_t bytes) {
  const int64_t before = held_bytes();
  large_.trim(bytes);
  if (const int64_t missing = bytes - (before - held_bytes()); missing > 0) small_.trim(missing);
}

void SegmentBlocks::share_with(int device_index) {
  small_pages_->share_with(device_index);
  large_pages_->share_with(device_index);
}

}  // namespace megalith
