#pragma once
// defines: Block, Pool, CaptureMemory

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "megalith/core/device.h"
#include "megalith/core/memory/block_store.h"
#include "megalith/core/memory/ledger.h"

namespace megalith {

class ActivationArena;

struct Block {
  std::byte* data = nullptr;
  int64_t bytes = 0;  ///< what the pool keeps for it, at least what was asked for
  int owner_id = 0;
  bool is_for_captures = false;
};

/// Allocator of one device that keeps what was freed, so that a training step, which asks for the same sizes
/// every time, reaches the operating system or the GPU's driver only in its first rounds. A GPU's blocks are
/// stretches of memory that grows (expandable_segment.h); with MEGALITH_EXPANDABLE_SEGMENTS=0
/// (compute-sanitizer follows allocations, not pages), without virtual memory management in its driver, and
/// on a host, freed blocks serve requests of their size (cached_blocks.h). Blocks are aligned to 64 bytes
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
  /// Another GPU of this process reads and writes this one's blocks too. Where they are plain memory of CUDA,
  /// cudaDeviceEnablePeerAccess in the reader is what counts.
  void share_with(int device_index);

  /// From now on what a step takes lies where a plan has it (activation_arena.h); steps are what an
  /// ArenaScope encloses. Throws Error for a GPU whose driver has no virtual memory management.
  void use_arena();
  /// Null before.
  const ActivationArena* arena() const { return arena_.get(); }

  /// In blocks that are in use or free: what the operating system or the driver has given.
  int64_t held_bytes() const;
  int64_t cached_bytes() const;  ///< of that in no block

 private:
  friend class CaptureMemory;
  friend class ArenaScope;
  std::byte* find_place(const Block& block);
  BlockStore& store_of(const Block& block) { return block.is_for_captures ? *capture_store_ : *store_; }
  std::byte* take_from_store(const Block& block);
  int64_t stored_bytes() const;

  Device device_;
  Memory memory_;
  MemoryLedger* ledger_;
  mutable std::mutex mutex_;
  std::unique_ptr<BlockStore> store_;
  std::unique_ptr<BlockStore> capture_store_;  // null before the first capture
  bool is_capturing_ = false;
  std::shared_ptr<ActivationArena> arena_;
  std::vector<int> shared_with_;
  int64_t used_bytes_ = 0;
};

/// While it lives, blocks come from memory that only such scopes get and that stays where it is as long as
/// the pool: the graph that is captured meanwhile uses it whenever it runs, also what lies free then. What
/// lies free elsewhere goes back to the device before, for the capture will need about as much.
class CaptureMemory {
 public:
  explicit CaptureMemory(Pool& pool);
  ~CaptureMemory();
  CaptureMemory(const CaptureMemory&) = delete;
  CaptureMemory& operator=(const CaptureMemory&) = delete;

 private:
  Pool* pool_;
};

}  // namespace megalith
