#pragma once
// defines: BlockStore

#include <cstddef>
#include <cstdint>

namespace megalith {

/// Where a pool has its blocks from. Not thread-safe: the pool has the lock.
class BlockStore {
 public:
  BlockStore() = default;
  virtual ~BlockStore() = default;
  BlockStore(const BlockStore&) = delete;
  BlockStore& operator=(const BlockStore&) = delete;

  /// What is kept for a request: at least `bytes`, and for a rounded size that size again.
  virtual int64_t rounded(int64_t bytes) const = 0;
  /// A block of a rounded size; null where the device has not the memory.
  virtual std::byte* take(int64_t bytes) = 0;
  virtual void give_back(std::byte* data, int64_t bytes) = 0;
  /// Returns memory of free blocks to where it came from: `bytes` or more of it where there is as much.
  virtual void trim(int64_t bytes) = 0;
  /// In blocks that are in use or free.
  virtual int64_t held_bytes() const = 0;
  /// Another GPU of the process reads and writes the blocks too, those that come as those that are.
  virtual void share_with(int /*device_index*/) {}
};

}  // namespace megalith
