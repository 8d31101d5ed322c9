#include "megalith/core/memory/expandable_segment.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

#include "megalith/base/error.h"
#include "megalith/base/math.h"

namespace megalith {
namespace {

// Adds a stretch and makes it one with its neighbours; where the whole begins.
int64_t add_joined(std::map<int64_t, int64_t>& stretches, int64_t begin, int64_t bytes) {
  auto next = stretches.lower_bound(begin);
  if (next != stretches.end() && next->first == begin + bytes) {
    bytes += next->second;
    next = stretches.erase(next);
  }
  if (next != stretches.begin()) {
    const auto previous = std::prev(next);
    if (previous->first + previous->second == begin) {
      previous->second += bytes;
      return previous->first;
    }
  }
  stretches.emplace_hint(next, begin, bytes);
  return begin;
}

int64_t bytes_from(const std::map<int64_t, int64_t>& stretches, int64_t begin) {
  const auto stretch = stretches.find(begin);
  return stretch != stretches.end() ? stretch->second : 0;
}

int64_t bytes_up_to(const std::map<int64_t, int64_t>& stretches, int64_t end) {
  auto stretch = stretches.lower_bound(end);
  if (stretch == stretches.begin()) return 0;
  --stretch;
  return stretch->first + stretch->second == end ? stretch->second : 0;
}

}  // namespace

ExpandableSegment::ExpandableSegment(PageSource& source, int64_t address_bytes)
    : source_(&source),
      page_bytes_(source.page_bytes()),
      address_bytes_(address_bytes),
      base_(source.reserve(address_bytes)),
      unmapped_{{0, address_bytes}} {}

// All blocks are back, or their owners leave theirs behind.
ExpandableSegment::~ExpandableSegment() {
  std::vector<std::byte*> pages;
  int64_t begin = 0;
  const auto note = [&](int64_t end) {
    for (; begin < end; begin += page_bytes_) pages.push_back(base_ + begin);
  };
  for (const auto& [hole, bytes] : unmapped_) {
    note(hole);
    begin = hole + bytes;
  }
  note(address_bytes_);
  if (!pages.empty()) source_->unmap(pages);
}

std::byte* ExpandableSegment::take(int64_t bytes) {
  MG_ASSERT(bytes > 0);
  auto fit = by_size_.lower_bound({bytes, 0});
  if (fit == by_size_.end()) {
    if (!grow(bytes)) return nullptr;
    fit = by_size_.lower_bound({bytes, 0});
  }
  const auto stretch = free_.find(fit->second);
  const auto [begin, whole] = *stretch;
  remove_free(stretch);
  if (whole > bytes) add_free(begin + bytes, whole - bytes);
  return base_ + begin;
}

void ExpandableSegment::give_back(std::byte* data, int64_t bytes) {
  MG_ASSERT(contains(data));
  add_free(data - base_, bytes);
}

void ExpandableSegment::add_free(int64_t begin, int64_t bytes) {
  const int64_t after = bytes_from(free_, begin + bytes), before = bytes_up_to(free_, begin);
  if (after > 0) by_size_.erase({after, begin + bytes});
  if (before > 0) by_size_.erase({before, begin - before});
  const int64_t joined = add_joined(free_, begin, bytes);
  by_size_.insert({before + bytes + after, joined});
  free_bytes_ += bytes;
}

void ExpandableSegment::remove_free(Stretches::iterator stretch) {
  by_size_.erase({stretch->second, stretch->first});
  free_bytes_ -= stretch->second;
  free_.erase(stretch);
}

bool ExpandableSegment::grow(int64_t bytes) {
  int64_t fewest = std::numeric_limits<int64_t>::max();
  int64_t place = 0;
  for (const auto& [begin, size] : unmapped_) {
    const int64_t before = bytes_up_to(free_, begin);
    int64_t needed = round_up(bytes - before, page_bytes_);
    if (needed > size) {  // all of the hole, and what is free behind it
      if (before + size + bytes_from(free_, begin + size) < bytes) continue;
      needed = size;
    }
    if (needed < fewest) {
      fewest = needed;
      place = begin;
    }
  }
  if (fewest == std::numeric_limits<int64_t>::max()) return false;
  if (!source_->map(base_ + place, fewest / page_bytes_)) return false;
  const auto hole = unmapped_.find(place);
  const int64_t left = hole->second - fewest;
  unmapped_.erase(hole);
  if (left > 0) unmapped_.emplace(place + fewest, left);
  mapped_bytes_ += fewest;
  add_free(place, fewest);
  return true;
}

void ExpandableSegment::trim(int64_t bytes) {
  std::vector<std::byte*> pages;
  std::vector<std::pair<int64_t, int64_t>> gone;  // where it begins, where it ends
  int64_t found = 0;
  for (const auto& [begin, size] : free_) {
    if (found >= bytes) break;
    const int64_t first = round_up(begin, page_bytes_);
    const int64_t last =
        std::min((begin + size) / page_bytes_ * page_bytes_, first + round_up(bytes - found, page_bytes_));
    if (first >= last) continue;
    gone.push_back({first, last});
    found += last - first;
    for (int64_t page = first; page < last; page += page_bytes_) pages.push_back(base_ + page);
  }
  if (pages.empty()) return;
  source_->unmap(pages);
  for (const auto& [first, last] : gone) {
    const auto stretch = std::prev(free_.upper_bound(first));
    const auto [begin, size] = *stretch;
    remove_free(stretch);
    if (begin < first) add_free(begin, first - begin);
    if (last < begin + size) add_free(last, begin + size - last);
    add_joined(unmapped_, first, last - first);
  }
  mapped_bytes_ -= found;
}

}  // namespace megalith
