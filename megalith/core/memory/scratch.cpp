#include "megalith/core/memory/scratch.h"

#include <algorithm>

#include <fmt/format.h>

#include "megalith/base/math.h"

namespace megalith {
namespace {
constexpr int64_t kAlignment = 64;
constexpr int64_t kMinChunkBytes = 1 << 20;
}  // namespace

Scratch::~Scratch() {
  for (const Chunk& chunk : chunks_) pool_->give_back(chunk.block);
}

std::byte* Scratch::take(int64_t bytes, const char* name) {
  const int64_t size = round_up(std::max<int64_t>(bytes, 1), kAlignment);
  while (current_ < chunks_.size() && chunks_[current_].used + size > chunks_[current_].block.bytes)
    ++current_;
  if (current_ == chunks_.size()) chunks_.push_back({pool_->take(std::max(size, kMinChunkBytes))});
  Chunk& chunk = chunks_[current_];
  std::byte* place = chunk.block.data + chunk.used;
  chunk.used += size;
  items_.push_back({name, size});
  used_bytes_ += size;
  if (used_bytes_ > high_water_bytes_) {
    high_water_bytes_ = used_bytes_;
    high_water_names_.clear();
    for (const Item& item : items_) high_water_names_.push_back(fmt::format("{} {}", item.name, item.bytes));
  }
  return place;
}

ScratchFrame::ScratchFrame(Scratch& scratch)
    : scratch_(&scratch),
      current_(scratch.current_),
      used_in_chunk_(scratch.current_ < scratch.chunks_.size() ? scratch.chunks_[scratch.current_].used : 0),
      num_items_(scratch.items_.size()),
      used_bytes_(scratch.used_bytes_) {}

ScratchFrame::~ScratchFrame() {
  for (size_t i = current_ + 1; i < scratch_->chunks_.size(); ++i) scratch_->chunks_[i].used = 0;
  if (current_ < scratch_->chunks_.size()) scratch_->chunks_[current_].used = used_in_chunk_;
  scratch_->current_ = current_;
  scratch_->items_.resize(num_items_);
  scratch_->used_bytes_ = used_bytes_;
}

}  // namespace megalith
