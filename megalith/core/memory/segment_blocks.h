#pragma once
// defines: SegmentBlocks

#include <memory>

#include "megalith/core/memory/block_store.h"
#include "megalith/core/memory/expandable_segment.h"

namespace megalith {

/// Blocks of two segments: small ones, which would lie between the large ones and keep these from growing
/// together, have addresses and pages of their own.
class SegmentBlocks final : public BlockStore {
 public:
  /// `address_bytes` of each, more than the device has: free addresses cost nothing, and with enough of them
  /// memory can always be put together again.
  SegmentBlocks(std::unique_ptr<PageSource> small_pages, std::unique_ptr<PageSource> large_pages,
                int64_t address_bytes);

  static constexpr int64_t kSmallBytes = int64_t{1} << 20;

  int64_t rounded(int64_t bytes) const override;
  std::byte* take(int64_t bytes) override { return segment_for(bytes).take(bytes); }
  void give_back(std::byte* data, int64_t bytes) override { segment_for(bytes).give_back(data, bytes); }
  void trim(int64_t bytes) override;
  int64_t held_bytes() const override { return small_.mapped_bytes() + large_.mapped_bytes(); }
  void share_with(int device_index) override;

 private:
  ExpandableSegment& segment_for(int64_t bytes) { return bytes < kSmallBytes ? small_ : large_; }

  std::unique_ptr<PageSource> small_pages_, large_pages_;
  ExpandableSegment small_, large_;
};

}  // namespace megalith
