#include "megalith/core/memory/pool.h"

#include <algorithm>
#include <bit>

#include "megalith/base/math.h"
#include "megalith/base/text.h"
#include "megalith/core/cuda/cuda_context.h"
#include "megalith/core/has_cuda.h"
#include "megalith/core/memory/host_memory.h"

namespace megalith {
namespace {

constexpr int64_t kMinBytes = 64;
constexpr int64_t kLargeBytes = 64 << 10;

// Sizes are rounded up so that requests that differ a little share blocks: in eight steps per power of two
// while blocks are small, in 64 once the waste would count.
int64_t size_class(int64_t bytes) {
  if (bytes <= 8 * kMinBytes) return round_up(std::max<int64_t>(bytes, 1), kMinBytes);
  const auto power = static_cast<int64_t>(std::bit_floor(static_cast<uint64_t>(bytes)));
  return round_up(bytes, bytes < kLargeBytes ? power / 8 : power / 64);
}

}  // namespace

Pool::~Pool() {
  unmap_free();
}

Block Pool::take(int64_t bytes) {
  const int64_t size = size_class(bytes);
  Block block{.bytes = size, .owner_id = ledger_->take(size)};
  {
    const std::lock_guard lock(mutex_);
    const auto place = free_.find(size);
    if (place != free_.end() && !place->second.empty()) {
      block.data = place->second.back();
      place->second.pop_back();
      cached_bytes_ -= size;
      return block;
    }
  }
  try {
    block.data = map(size);
  } catch (...) {
    ledger_->release(block.owner_id, size);
    throw;
  }
  return block;
}

std::byte* Pool::map(int64_t bytes) {
  if constexpr (kHasCuda) {
    if (device_.is_cuda() && memory_ == Memory::kPinnedHost) return cuda_map_host(device_.index, bytes);
    if (device_.is_cuda()) {
      std::byte* data = cuda_map(device_.index, bytes);
      if (data == nullptr) {  // what lies unused in blocks of other sizes may be enough
        trim();
        data = cuda_map(device_.index, bytes);
      }
      MG_CHECK(data != nullptr, "out of memory on {}: {} do not fit, {} are free; in use:\n{}",
               device_.name(), human_bytes(static_cast<double>(bytes)),
               human_bytes(static_cast<double>(cuda_memory(device_.index).free_bytes)), ledger_->report());
      return data;
    }
  }
  return host_map(bytes);
}

void Pool::unmap(std::byte* data, int64_t bytes) {
  if constexpr (kHasCuda) {
    if (device_.is_cuda() && memory_ == Memory::kPinnedHost) return cuda_unmap_host(device_.index, data);
    if (device_.is_cuda()) return cuda_unmap(device_.index, data);
  }
  host_unmap(data, bytes);
}

void Pool::give_back(const Block& block) {
  ledger_->release(block.owner_id, block.bytes);
  const std::lock_guard lock(mutex_);
  free_[block.bytes].push_back(block.data);
  cached_bytes_ += block.bytes;
}

void Pool::trim() {
  if (!keeps_mapped_) unmap_free();
}

void Pool::unmap_free() {
  const std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : free_) {
    for (std::byte* data : blocks) unmap(data, size);
  }
  free_.clear();
  cached_bytes_ = 0;
}

int64_t Pool::cached_bytes() const {
  const std::lock_guard lock(mutex_);
  return cached_bytes_;
}

}  // namespace megalith
