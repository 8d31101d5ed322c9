#include "megalith/core/memory/pool.h"

#include <cstdlib>
#include <string_view>

#include "megalith/base/error.h"
#include "megalith/base/text.h"
#include "megalith/core/cuda/cuda_context.h"
#include "megalith/core/cuda/cuda_pages.h"
#include "megalith/core/has_cuda.h"
#include "megalith/core/memory/activation_arena.h"
#include "megalith/core/memory/cached_blocks.h"
#include "megalith/core/memory/host_memory.h"
#include "megalith/core/memory/host_pages.h"
#include "megalith/core/memory/out_of_memory.h"
#include "megalith/core/memory/segment_blocks.h"

namespace megalith {
namespace {

// Pages of the two segments: small enough that what a hole cannot return is little, large enough that a few
// thousand calls map a whole GPU.
constexpr int64_t kSmallPageBytes = int64_t{2} << 20;
constexpr int64_t kLargePageBytes = int64_t{32} << 20;
// Addresses, in multiples of the device's memory.
constexpr int64_t kAddresses = 8;

bool wants_segments() {
  const char* value = std::getenv("MEGALITH_EXPANDABLE_SEGMENTS");
  if (value == nullptr) return true;
  const std::string_view text = value;
  MG_CHECK(text == "0" || text == "1", "MEGALITH_EXPANDABLE_SEGMENTS={}: unknown; allowed: 0, 1", text);
  return text == "1";
}

std::unique_ptr<BlockStore> make_cuda_store(int device_index, Pool::Memory memory) {
  if constexpr (kHasCuda) {
    if (memory == Pool::Memory::kPinnedHost)
      return std::make_unique<CachedBlocks>(CachedBlocks::Source{
          .map = [device_index](int64_t bytes) { return cuda_map_host(device_index, bytes); },
          .unmap = [device_index](std::byte* data, int64_t) { cuda_unmap_host(device_index, data); }});
    if (has_cuda_pages(device_index) && wants_segments())
      return std::make_unique<SegmentBlocks>(make_cuda_pages(device_index, kSmallPageBytes),
                                             make_cuda_pages(device_index, kLargePageBytes),
                                             kAddresses * cuda_memory(device_index).total_bytes);
    return std::make_unique<CachedBlocks>(CachedBlocks::Source{
        .map = [device_index](int64_t bytes) { return cuda_map(device_index, bytes); },
        .unmap = [device_index](std::byte* data, int64_t) { cuda_unmap(device_index, data); }});
  }
  static_cast<void>(device_index);
  static_cast<void>(memory);
  return nullptr;
}

std::unique_ptr<BlockStore> make_store(Device device, Pool::Memory memory) {
  if (device.is_cuda()) return make_cuda_store(device.index, memory);
  return std::make_unique<CachedBlocks>(CachedBlocks::Source{.map = host_map, .unmap = host_unmap});
}

// Addresses for plans: as many bytes as the device has, and behind blocks that outlive a plan as many again.
std::shared_ptr<ActivationArena> make_arena(Device device) {
  if constexpr (kHasCuda) {
    if (device.is_cuda()) {
      MG_CHECK(has_cuda_pages(device.index),
               "activation_arena: the driver of {} has no virtual memory management; allowed: false",
               device.name());
      return std::make_shared<ActivationArena>(make_cuda_pages(device.index, kLargePageBytes),
                                               2 * cuda_memory(device.index).total_bytes);
    }
  }
  static_cast<void>(device);
  return std::make_shared<ActivationArena>(make_host_pages(), 2 * host_memory_bytes());
}

}  // namespace

Pool::Pool(Device device, MemoryLedger& ledger, Memory memory)
    : device_(device), memory_(memory), ledger_(&ledger), store_(make_store(device, memory)) {}

Block Pool::take(int64_t bytes) {
  const std::lock_guard lock(mutex_);
  const int64_t size = store_->rounded(bytes);
  Block block{.bytes = size, .owner_id = ledger_->take(size), .is_for_captures = is_capturing_};
  try {
    block.data = find_place(block);
  } catch (...) {
    ledger_->release(block.owner_id, size);
    throw;
  }
  used_bytes_ += size;
  return block;
}

std::byte* Pool::find_place(const Block& block) {
  if (arena_ == nullptr || block.is_for_captures || block.owner_id != arena_->owner_id())
    return take_from_store(block);
  std::byte* data = arena_->place(block.bytes);
  if (data == nullptr) data = take_from_store(block);
  arena_->note(data, block.bytes);
  return data;
}

std::byte* Pool::take_from_store(const Block& block) {
  BlockStore& store = store_of(block);
  std::byte* data = store.take(block.bytes);
  if (data == nullptr && !block.is_for_captures) {
    // Pages that lie free at other places: first as many as it takes, then all of them.
    for (const int64_t wanted : {block.bytes, store.held_bytes()}) {
      store.trim(wanted);
      data = store.take(block.bytes);
      if (data != nullptr) break;
    }
  }
  if (data == nullptr && arena_ != nullptr) {
    arena_->slab().trim();
    data = store.take(block.bytes);
  }
  if constexpr (kHasCuda) {
    if (data == nullptr) {
      const auto human = [](int64_t count) { return human_bytes(static_cast<double>(count)); };
      const int64_t free_bytes = cuda_memory(device_.index).free_bytes;
      throw OutOfMemory(fmt::format("out of memory on {}: {} do not fit, {} are free on the device and {} "
                                    "between blocks; in use:\n{}",
                                    device_.name(), human(block.bytes), human(free_bytes),
                                    human(stored_bytes() - used_bytes_), ledger_->report()),
                        {.asked = block.bytes, .limit = free_bytes + stored_bytes()});
    }
  }
  return data;
}

void Pool::give_back(const Block& block) {
  ledger_->release(block.owner_id, block.bytes);
  const std::lock_guard lock(mutex_);
  if (arena_ == nullptr || !arena_->give_back(block.data)) store_of(block).give_back(block.data, block.bytes);
  used_bytes_ -= block.bytes;
}

void Pool::trim() {
  const std::lock_guard lock(mutex_);
  store_->trim(store_->held_bytes());
  if (arena_ != nullptr) arena_->slab().trim();
}

void Pool::use_arena() {
  const std::lock_guard lock(mutex_);
  if (arena_ != nullptr) return;
  arena_ = make_arena(device_);
  for (const int device_index : shared_with_) arena_->slab().share_with(device_index);
}

void Pool::share_with(int device_index) {
  const std::lock_guard lock(mutex_);
  shared_with_.push_back(device_index);
  store_->share_with(device_index);
  if (arena_ != nullptr) arena_->slab().share_with(device_index);
  if (capture_store_ != nullptr) capture_store_->share_with(device_index);
}

int64_t Pool::stored_bytes() const {
  return store_->held_bytes() + (capture_store_ != nullptr ? capture_store_->held_bytes() : 0) +
         (arena_ != nullptr ? arena_->mapped_bytes() : 0);
}

int64_t Pool::held_bytes() const {
  const std::lock_guard lock(mutex_);
  return stored_bytes();
}

int64_t Pool::cached_bytes() const {
  const std::lock_guard lock(mutex_);
  return stored_bytes() - used_bytes_;
}

CaptureMemory::CaptureMemory(Pool& pool) : pool_(&pool) {
  pool.trim();
  const std::lock_guard lock(pool.mutex_);
  MG_ASSERT(!pool.is_capturing_);
  if (pool.capture_store_ == nullptr) {
    pool.capture_store_ = make_store(pool.device_, pool.memory_);
    for (const int device_index : pool.shared_with_) pool.capture_store_->share_with(device_index);
  }
  pool.is_capturing_ = true;
}

CaptureMemory::~CaptureMemory() {
  const std::lock_guard lock(pool_->mutex_);
  pool_->is_capturing_ = false;
}

}  // namespace megalith
