#include "megalith/core/memory/arena_plan.h"

#include <algorithm>
#include <functional>
#include <numeric>
#include <utility>

#include "megalith/base/error.h"

namespace megalith {
namespace {

// The blocks that were placed, by stretches of time, so that a short life is held against its own time alone.
class PlacedBlocks {
 public:
  PlacedBlocks(std::span<const BlockLife> blocks, const std::vector<int64_t>& offsets)
      : blocks_(blocks), offsets_(offsets), seen_(blocks.size(), -1) {
    first_ = std::numeric_limits<int64_t>::max();
    int64_t last = std::numeric_limits<int64_t>::min();
    for (const BlockLife& block : blocks) {
      first_ = std::min(first_, block.begin);
      last = std::max(last, block.begin);
    }
    bucket_moments_ = (last - first_) / kBuckets + 1;
    buckets_.resize(kBuckets);
  }

  void add(int64_t index) {
    const BlockLife& block = blocks_[static_cast<size_t>(index)];
    for (size_t b = bucket_of(block.begin); b <= bucket_of(block.end - 1); ++b) buckets_[b].push_back(index);
  }

  // Those that live at some moment of this one's life, the lowest first.
  const std::vector<int64_t>& beside(int64_t index) {
    const BlockLife& block = blocks_[static_cast<size_t>(index)];
    found_.clear();
    for (size_t b = bucket_of(block.begin); b <= bucket_of(block.end - 1); ++b) {
      for (const int64_t other : buckets_[b]) {
        const BlockLife& life = blocks_[static_cast<size_t>(other)];
        if (life.end <= block.begin || block.end <= life.begin) continue;
        if (std::exchange(seen_[static_cast<size_t>(other)], index) != index) found_.push_back(other);
      }
    }
    std::sort(found_.begin(), found_.end(), [&](int64_t a, int64_t b) {
      return offsets_[static_cast<size_t>(a)] < offsets_[static_cast<size_t>(b)];
    });
    return found_;
  }

 private:
  static constexpr int64_t kBuckets = 256;
  // Lives that end behind the last begin end there for us: nobody comes later.
  size_t bucket_of(int64_t moment) const {
    return static_cast<size_t>(std::min((moment - first_) / bucket_moments_, kBuckets - 1));
  }

  std::span<const BlockLife> blocks_;
  const std::vector<int64_t>& offsets_;
  std::vector<int64_t> seen_;  // by which query
  int64_t first_, bucket_moments_;
  std::vector<std::vector<int64_t>> buckets_;
  std::vector<int64_t> found_;
};

// Places the blocks in this order, each in the smallest gap beside those that are placed.
int64_t place(std::span<const BlockLife> blocks, const std::vector<int64_t>& order,
              std::vector<int64_t>& offsets) {
  PlacedBlocks placed(blocks, offsets);
  int64_t total = 0;
  for (const int64_t index : order) {
    const int64_t bytes = blocks[static_cast<size_t>(index)].bytes;
    int64_t end = 0, best = -1, best_gap = std::numeric_limits<int64_t>::max();
    for (const int64_t other : placed.beside(index)) {
      const int64_t begin = offsets[static_cast<size_t>(other)];
      if (const int64_t gap = begin - end; gap >= bytes && gap < best_gap) {
        best = end;
        best_gap = gap;
      }
      end = std::max(end, begin + blocks[static_cast<size_t>(other)].bytes);
    }
    offsets[static_cast<size_t>(index)] = best >= 0 ? best : end;
    total = std::max(total, offsets[static_cast<size_t>(index)] + bytes);
    placed.add(index);
  }
  return total;
}

}  // namespace

int64_t peak_bytes(std::span<const BlockLife> blocks) {
  std::vector<std::pair<int64_t, int64_t>> changes;  // moment, bytes: what ends comes before what begins
  for (const BlockLife& block : blocks) {
    changes.push_back({block.begin, block.bytes});
    changes.push_back({block.end, -block.bytes});
  }
  std::sort(changes.begin(), changes.end());
  int64_t now = 0, peak = 0;
  for (const auto& [moment, bytes] : changes) peak = std::max(peak, now += bytes);
  return peak;
}

ArenaPlan plan_arena(std::span<const BlockLife> blocks) {
  for (const BlockLife& block : blocks) MG_ASSERT(block.bytes > 0 && block.begin < block.end);
  ArenaPlan plan;
  if (blocks.empty()) return plan;
  const int64_t least = peak_bytes(blocks);
  const auto at = [&](int64_t index) -> const BlockLife& { return blocks[static_cast<size_t>(index)]; };
  const auto last = std::max_element(blocks.begin(), blocks.end(), [](const auto& a, const auto& b) {
                      return a.begin < b.begin;
                    })->begin;
  const auto space_and_time = [&](int64_t index) {
    const double moments = static_cast<double>(std::min(at(index).end, last + 1) - at(index).begin);
    return moments * static_cast<double>(at(index).bytes);
  };
  const std::function<bool(int64_t, int64_t)> orders[] = {
      [&](int64_t a, int64_t b) { return at(a).bytes > at(b).bytes; },
      [&](int64_t a, int64_t b) { return space_and_time(a) > space_and_time(b); },
      [&](int64_t a, int64_t b) { return at(a).begin < at(b).begin; },
  };
  for (const auto& comes_before : orders) {
    std::vector<int64_t> order(blocks.size()), offsets(blocks.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), comes_before);
    const int64_t total = place(blocks, order, offsets);
    if (!plan.offsets.empty() && total >= plan.total_bytes) continue;
    plan.offsets = std::move(offsets);
    plan.total_bytes = total;
    if (total == least) break;
  }
  return plan;
}

}  // namespace megalith
