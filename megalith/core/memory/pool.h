#pragma once
// defines: Block, Pool

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>

#include "megalith/core/device.h"
#include "megalith/core/memory/block_store.h"
#include "megalith/core/memory/ledger.h"

namespace megalith {

struct Block {
  std::byte* data = nullptr;
  int64_t bytes = 0;  ///< what the pool keeps for it, at least what was asked for
  int owner_id = 0;
};

/// Allocator of one device that keeps what was freed, so that a training step, which asks for the same sizes
/// every time, reaches the operating system or the GPU's driver only in its first rounds. A GPU's blocks are
/// stretches of memory that grows (expandable_segment.h); without virtual memory management in its driver,
/// and on a host, freed blocks serve requests of their size (cached_blocks.h). Blocks are aligned to 64 bytes
/// (256 on a GPU); large ones of a host sit on huge pages where the kernel gives them. Contents are not
/// cleared. A block of a GPU may be given back while work that uses it is still on the rank's stream: who
/// takes it next stands behind that work on the same stream.
class Pool {
 public:
  /// kPinnedHost: host memory that a GPU reads and writes over its link, and copies to and from beside its
  /// work; for a CPU the same as kDevice.
  enum class Memory { kDevice, kPinnedHost };
  Pool(Device device, MemoryLedger& ledger, Memory memory = Memory::kDevice);
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  Block take(int64_t bytes);
  void give_back(const Block& block);
  /// Returns free memory to the operating system or the GPU's driver.
  void trim();
  /// From now on memory stays mapped while the pool lives: captured graphs use some that lies free meanwhile.
  void keep_mapped() { keeps_mapped_ = true; }
  /// Another GPU of this process reads and writes this one's blocks too. Where they are plain memory of CUDA,
  /// cudaDeviceEnablePeerAccess in the reader is what counts.
  void share_with(int device_index);

  /// In blocks that are in use or free: what the operating system or the driver has given.
  int64_t held_bytes() const;
  int64_t cached_bytes() const;  ///< of that in no block

 private:
  std::byte* take_from_store(int64_t bytes);

  Device device_;
  MemoryLedger* ledger_;
  mutable std::mutex mutex_;
  std::unique_ptr<BlockStore> store_;
  int64_t used_bytes_ = 0;
  bool keeps_mapped_ = false;
};

}  // namespace megalith
