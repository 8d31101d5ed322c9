#pragma once
// defines: CountedPages

#include <set>

#include <gtest/gtest.h>

#include "megalith/core/memory/page_source.h"

namespace megalith::testing {

// Addresses that nobody reads, and a count of the pages behind them.
class CountedPages final : public PageSource {
 public:
  CountedPages(int64_t page_bytes, int64_t capacity, uintptr_t base)
      : page_bytes_(page_bytes), capacity_(capacity), base_(reinterpret_cast<std::byte*>(base)) {}

  int64_t page_bytes() const override { return page_bytes_; }
  std::byte* reserve(int64_t bytes) override {
    EXPECT_EQ(bytes % page_bytes_, 0);
    return base_;
  }
  bool map(std::byte* at, int64_t num_pages) override {
    if (static_cast<int64_t>(mapped_.size()) + num_pages > capacity_) return false;
    for (int64_t page = 0; page < num_pages; ++page)
      EXPECT_TRUE(mapped_.insert(at + page * page_bytes_).second) << "mapped twice";
    return true;
  }
  void unmap(std::span<std::byte* const> pages) override {
    for (std::byte* page : pages) EXPECT_EQ(mapped_.erase(page), 1u) << "not mapped";
  }
  void share_with(int) override {}

  int64_t num_mapped() const { return static_cast<int64_t>(mapped_.size()); }
  bool covers(std::byte* data, int64_t bytes) const {
    const auto begin = (data - base_) / page_bytes_ * page_bytes_;
    for (int64_t at = begin; at < data - base_ + bytes; at += page_bytes_)
      if (!mapped_.contains(base_ + at)) return false;
    return true;
  }

 private:
  int64_t page_bytes_, capacity_;
  std::byte* base_;
  std::set<std::byte*> mapped_;
};

}  // namespace megalith::testing
