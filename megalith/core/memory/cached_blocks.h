#pragma once
// defines: CachedBlocks

#include <functional>
#include <map>
#include <vector>

#include "megalith/core/memory/block_store.h"

namespace megalith {

/// Blocks that stay what they are: a freed one is given out again for a request of about its size. For memory
/// of the host, where what nobody touches costs little.
class CachedBlocks final : public BlockStore {
 public:
  struct Source {
    std::function<std::byte*(int64_t bytes)> map;  ///< may give null
    std::function<void(std::byte* data, int64_t bytes)> unmap;
  };
  explicit CachedBlocks(Source source) : source_(std::move(source)) {}
  ~CachedBlocks() override;

  int64_t rounded(int64_t bytes) const override;
  std::byte* take(int64_t bytes) override;
  void give_back(std::byte* data, int64_t bytes) override;
  /// Returns all of it.
  void trim(int64_t bytes) override;
  int64_t held_bytes() const override { return held_bytes_; }

 private:
  Source source_;
  std::map<int64_t, std::vector<std::byte*>> free_;  // by block size
  int64_t held_bytes_ = 0;
};

}  // namespace megalith
