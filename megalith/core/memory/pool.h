#pragma once
// defines: Block, Pool

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <vector>

#include "megalith/core/device.h"
#include "megalith/core/memory/ledger.h"

namespace megalith {

struct Block {
  std::byte* data = nullptr;
  int64_t bytes = 0;  ///< what the pool keeps for it, at least what was asked for
  int owner_id = 0;
};

/// Caching allocator of one device. A freed block is kept and given out again for a request of about its
/// size, so that a training step, which asks for the same sizes every time, reaches the operating system only
/// in its first round. Blocks are aligned to 64 bytes (256 on a GPU); large ones sit on huge pages where the
/// kernel gives them. Contents are not cleared. A block of a GPU may be given back while work that uses it is
/// still on the rank's stream: who takes it next stands behind that work on the same stream.
class Pool {
 public:
  /// kPinnedHost: host memory that a GPU reads and writes over its link, and copies to and from beside its
  /// work; for a CPU the same as kDevice.
  enum class Memory { kDevice, kPinnedHost };
  Pool(Device device, MemoryLedger& ledger, Memory memory = Memory::kDevice)
      : device_(device), memory_(memory), ledger_(&ledger) {}
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  Block take(int64_t bytes);
  void give_back(const Block& block);
  /// Returns the kept blocks to the operating system or the GPU's driver.
  void trim();
  /// From now on blocks stay mapped while the pool lives: captured graphs use some that lie free meanwhile.
  void keep_mapped() { keeps_mapped_ = true; }
  int64_t cached_bytes() const;

 private:
  void unmap_free();
  std::byte* map(int64_t bytes);
  void unmap(std::byte* data, int64_t bytes);

  Device device_;
  Memory memory_;
  MemoryLedger* ledger_;
  mutable std::mutex mutex_;
  std::map<int64_t, std::vector<std::byte*>> free_;  // by block size
  int64_t cached_bytes_ = 0;
  bool keeps_mapped_ = false;
};

}  // namespace megalith
