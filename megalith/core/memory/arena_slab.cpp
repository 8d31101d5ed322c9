#include "megalith/core/memory/arena_slab.h"

#include <iterator>
#include <vector>

#include "megalith/base/error.h"
#include "megalith/base/math.h"

namespace megalith {
namespace {

// Of stretches that do not overlap, whether one has something of [begin, end).
bool overlaps(const std::map<int64_t, int64_t>& stretches, int64_t begin, int64_t end) {
  const auto next = stretches.lower_bound(end);
  return next != stretches.begin() && std::prev(next)->second > begin;
}

// Adds a stretch behind or between others and makes it one with those that it touches.
void add_joined(std::map<int64_t, int64_t>& stretches, int64_t begin, int64_t end) {
  auto next = stretches.lower_bound(begin);
  if (next != stretches.end() && next->first == end) {
    end = next->second;
    next = stretches.erase(next);
  }
  if (next != stretches.begin() && std::prev(next)->second == begin)
    std::prev(next)->second = end;
  else
    stretches.emplace_hint(next, begin, end);
}

}  // namespace

ArenaSlab::ArenaSlab(std::unique_ptr<PageSource> pages, int64_t address_bytes)
    : pages_(std::move(pages)),
      page_bytes_(pages_->page_bytes()),
      address_bytes_(round_up(address_bytes, page_bytes_)),
      base_(pages_->reserve(address_bytes_)) {}

// All blocks are back, or their owners leave theirs behind.
ArenaSlab::~ArenaSlab() {
  blocks_.clear();
  trim();
}

bool ArenaSlab::cover(int64_t begin, int64_t end) {
  begin = begin / page_bytes_ * page_bytes_;
  end = round_up(end, page_bytes_);
  if (end > address_bytes_) return false;
  while (begin < end) {
    const auto next = covered_.upper_bound(begin);
    if (next != covered_.begin() && std::prev(next)->second > begin) {
      begin = std::prev(next)->second;
      continue;
    }
    const int64_t missing_end = next == covered_.end() ? end : std::min(end, next->first);
    if (!pages_->map(base_ + begin, (missing_end - begin) / page_bytes_)) return false;
    mapped_bytes_ += missing_end - begin;
    add_joined(covered_, begin, missing_end);
    begin = missing_end;
  }
  return true;
}

bool ArenaSlab::is_covered(int64_t begin, int64_t end) const {
  const auto next = covered_.upper_bound(begin);
  return next != covered_.begin() && std::prev(next)->second >= end;
}

std::byte* ArenaSlab::take_at(int64_t offset, int64_t bytes) {
  MG_ASSERT(offset >= 0 && bytes > 0);
  if (!is_covered(offset, offset + bytes) || overlaps(blocks_, offset, offset + bytes)) return nullptr;
  blocks_.emplace(offset, offset + bytes);
  return base_ + offset;
}

void ArenaSlab::give_back(std::byte* data) {
  const size_t erased = blocks_.erase(data - base_);
  MG_ASSERT(erased == 1);
}

void ArenaSlab::trim() {
  std::vector<std::byte*> gone;
  std::map<int64_t, int64_t> kept;
  for (const auto& [begin, end] : covered_) {
    for (int64_t page = begin; page < end; page += page_bytes_) {
      if (overlaps(blocks_, page, page + page_bytes_))
        add_joined(kept, page, page + page_bytes_);
      else
        gone.push_back(base_ + page);
    }
  }
  if (gone.empty()) return;
  pages_->unmap(gone);
  covered_ = std::move(kept);
  mapped_bytes_ -= static_cast<int64_t>(gone.size()) * page_bytes_;
}

}  // namespace megalith
