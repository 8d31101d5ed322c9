#pragma once
// defines: ExpandableSegment

#include <map>
#include <set>
#include <utility>

#include "megalith/core/memory/page_source.h"

namespace megalith {

/// Blocks cut from one range of addresses, of which as many pages have memory as were ever needed. A block
/// may be any free stretch of pages with memory; neighbouring free stretches are one. What was freed in some
/// sizes therefore serves requests of any others, which blocks that stay what they are do not: counts that
/// change from step to step (rows of experts) would leave more and more sizes behind.
///
/// The smallest stretch that is large enough is taken, and of equal ones the lowest. Where none is, pages are
/// mapped at the place that needs the fewest, next to what is free there.
class ExpandableSegment {
 public:
  /// `address_bytes` is a multiple of the page and bounds the addresses; `source` outlives the segment.
  ExpandableSegment(PageSource& source, int64_t address_bytes);
  ~ExpandableSegment();
  ExpandableSegment(const ExpandableSegment&) = delete;
  ExpandableSegment& operator=(const ExpandableSegment&) = delete;

  /// Null where the device has no more memory, or the range no more addresses.
  std::byte* take(int64_t bytes);
  void give_back(std::byte* data, int64_t bytes);
  /// Unmaps pages that lie in free stretches as a whole, from the lowest address on, until it is `bytes`.
  void trim(int64_t bytes);

  int64_t mapped_bytes() const { return mapped_bytes_; }
  /// Of that in no block.
  int64_t free_bytes() const { return free_bytes_; }
  bool contains(const std::byte* data) const { return data >= base_ && data < base_ + address_bytes_; }

 private:
  using Stretches = std::map<int64_t, int64_t>;  // where it begins -> bytes

  bool grow(int64_t bytes);
  void add_free(int64_t begin, int64_t bytes);
  void remove_free(Stretches::iterator stretch);

  PageSource* source_;
  int64_t page_bytes_;
  int64_t address_bytes_;
  std::byte* base_;
  Stretches free_;                                 // with memory, in no block
  std::set<std::pair<int64_t, int64_t>> by_size_;  // the same: bytes, where it begins
  Stretches unmapped_;                             // whole pages without memory
  int64_t mapped_bytes_ = 0;
  int64_t free_bytes_ = 0;
};

}  // namespace megalith
