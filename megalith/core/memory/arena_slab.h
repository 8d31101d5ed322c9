#pragma once
// defines: ArenaSlab

#include <map>
#include <memory>

#include "megalith/core/memory/page_source.h"

namespace megalith {

/// One range of addresses in which blocks lie where they are asked to, not where there is room: for an arena
/// whose plan knows. Addresses stay what they are when the memory behind them comes and goes.
class ArenaSlab {
 public:
  /// `address_bytes` is rounded up to whole pages and bounds the addresses.
  ArenaSlab(std::unique_ptr<PageSource> pages, int64_t address_bytes);
  ~ArenaSlab();
  ArenaSlab(const ArenaSlab&) = delete;
  ArenaSlab& operator=(const ArenaSlab&) = delete;

  int64_t address_bytes() const { return address_bytes_; }
  int64_t page_bytes() const { return page_bytes_; }
  /// Puts memory behind all pages from `begin` to `end`; false where there is not as much, or no addresses.
  bool cover(int64_t begin, int64_t end);
  /// Null where another block lies, or memory is missing.
  std::byte* take_at(int64_t offset, int64_t bytes);
  void give_back(std::byte* data);
  /// Unmaps all pages that no block touches.
  void trim();
  bool contains(const std::byte* data) const { return data >= base_ && data < base_ + address_bytes_; }
  /// Behind the last block.
  int64_t used_end() const { return blocks_.empty() ? 0 : blocks_.rbegin()->second; }
  int64_t mapped_bytes() const { return mapped_bytes_; }
  void share_with(int device_index) { pages_->share_with(device_index); }

 private:
  bool is_covered(int64_t begin, int64_t end) const;

  std::unique_ptr<PageSource> pages_;
  int64_t page_bytes_;
  int64_t address_bytes_;
  std::byte* base_;
  std::map<int64_t, int64_t> blocks_;   // where one begins -> where it ends
  std::map<int64_t, int64_t> covered_;  // stretches of pages with memory, likewise; neighbours are one
  int64_t mapped_bytes_ = 0;
};

}  // namespace megalith
