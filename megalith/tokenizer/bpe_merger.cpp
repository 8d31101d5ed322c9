#include "megalith/tokenizer/bpe_merger.h"

#include <algorithm>
#include <bit>

namespace megalith {
namespace {

constexpr uint64_t kEmptyPair = ~0ull;  // ids are not negative, so no pair looks like this
constexpr uint64_t kNoMerge = ~0ull;
constexpr size_t kLongestScan = 64;  // ids; above it the heap is faster

uint64_t pack(int32_t left, int32_t right) {
  return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
}

/// Fibonacci hashing; the table index is in the top bits.
uint64_t mix(uint64_t pair) {
  return (pair ^ pair >> 29) * 0x9E3779B97F4A7C15ull;
}

}  // namespace

BpeMerger::BpeMerger(std::span<const BpeMerge> merges) {
  const size_t capacity = std::bit_ceil(std::max<size_t>(2 * merges.size(), 16));
  shift_ = 64 - std::countr_zero(capacity);
  slots_.assign(capacity, {kEmptyPair, 0, 0});
  for (size_t rank = 0; rank < merges.size(); ++rank) {
    const uint64_t pair = pack(merges[rank].left, merges[rank].right);
    size_t index = mix(pair) >> shift_;
    while (slots_[index].pair != kEmptyPair && slots_[index].pair != pair)
      index = (index + 1) & (capacity - 1);
    slots_[index] = {pair, static_cast<uint32_t>(rank), merges[rank].result};
  }
}

const BpeMerger::Slot* BpeMerger::find(int32_t left, int32_t right) const {
  const uint64_t pair = pack(left, right);
  for (size_t index = mix(pair) >> shift_;; index = (index + 1) & (slots_.size() - 1)) {
    if (slots_[index].pair == pair) return &slots_[index];
    if (slots_[index].pair == kEmptyPair) return nullptr;
  }
}

/// Rank in the high half, result in the low half: the minimum over a piece is its next merge.
uint64_t BpeMerger::find_packed(int32_t left, int32_t right) const {
  const Slot* slot = find(left, right);
  return slot ? static_cast<uint64_t>(slot->rank) << 32 | static_cast<uint32_t>(slot->result) : kNoMerge;
}

void BpeMerger::merge(std::vector<int32_t>& ids, Scratch& scratch) const {
  if (ids.size() < 2) return;
  if (ids.size() <= kLongestScan)
    merge_short(ids, scratch);
  else
    merge_long(ids, scratch);
}

void BpeMerger::merge_short(std::vector<int32_t>& ids, Scratch& scratch) const {
  std::vector<uint64_t>& merges = scratch.merges;  // merges[i]: of ids[i] and ids[i + 1]
  merges.resize(ids.size() - 1);
  for (size_t i = 0; i + 1 < ids.size(); ++i) merges[i] = find_packed(ids[i], ids[i + 1]);
  while (!merges.empty()) {
    const auto best = std::min_element(merges.begin(), merges.end());
    if (*best == kNoMerge) return;
    const auto i = static_cast<size_t>(best - merges.begin());
    ids[i] = static_cast<int32_t>(static_cast<uint32_t>(*best));
    ids.erase(ids.begin() + static_cast<std::ptrdiff_t>(i) + 1);
    merges.erase(best);
    if (i > 0) merges[i - 1] = find_packed(ids[i - 1], ids[i]);
    if (i < merges.size()) merges[i] = find_packed(ids[i], ids[i + 1]);
  }
}

void BpeMerger::merge_long(std::vector<int32_t>& ids, Scratch& scratch) const {
  using Candidate = Scratch::Candidate;
  constexpr int32_t kNone = -1;
  constexpr int32_t kGone = -1;  // id of a node that was merged into the one to its left
  const auto later = [](const Candidate& a, const Candidate& b) {
    return a.rank != b.rank ? a.rank > b.rank : a.position > b.position;
  };
  auto& nodes = scratch.nodes;
  auto& heap = scratch.heap;
  const auto count = static_cast<int32_t>(ids.size());
  nodes.resize(ids.size());
  for (int32_t i = 0; i < count; ++i) nodes[i] = {ids[i], i - 1, i + 1 < count ? i + 1 : kNone};

  heap.clear();
  const auto candidate_at = [&](int32_t position) {
    const int32_t right = nodes[position].next;
    if (right == kNone) return;
    if (const Slot* slot = find(nodes[position].id, nodes[right].id))
      heap.push_back({slot->rank, position, slot->result, right});
  };
  const auto push_at = [&](int32_t position) {
    const size_t before = heap.size();
    candidate_at(position);
    if (heap.size() != before) std::push_heap(heap.begin(), heap.end(), later);
  };
  for (int32_t i = 0; i < count; ++i) candidate_at(i);
  std::make_heap(heap.begin(), heap.end(), later);

  while (!heap.empty()) {
    std::pop_heap(heap.begin(), heap.end(), later);
    const Candidate top = heap.back();
    heap.pop_back();
    auto& left = nodes[top.position];
    if (left.id == kGone || left.next != top.right) continue;
    auto& right = nodes[top.right];
    const Slot* slot = find(left.id, right.id);  // either half may have grown since
    if (!slot || slot->rank != top.rank) continue;
    left.id = top.result;
    left.next = right.next;
    right.id = kGone;
    if (left.next != kNone) nodes[left.next].previous = top.position;
    push_at(top.position);
    if (left.previous != kNone) push_at(left.previous);
  }
  size_t kept = 0;
  for (int32_t i = 0; i != kNone; i = nodes[i].next) ids[kept++] = nodes[i].id;
  ids.resize(kept);
}

}  // namespace megalith
