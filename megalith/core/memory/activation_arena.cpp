#include "megalith/core/memory/activation_arena.h"

#include <algorithm>
#include <exception>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/base/text.h"
#include "megalith/core/memory/segment_blocks.h"

namespace megalith {
namespace {

bool asks_for_the_same(const std::vector<BlockLife>& a, const std::vector<BlockLife>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(),
                    [](const BlockLife& one, const BlockLife& other) { return one.bytes == other.bytes; });
}

}  // namespace

ActivationArena::ActivationArena(std::unique_ptr<PageSource> pages, int64_t address_bytes)
    : slab_(std::move(pages), address_bytes) {}

void ActivationArena::begin_step(const std::string& kind_name, int owner_id, BlockStore& store) {
  MG_ASSERT(!is_in_step());
  Kind& kind = kinds_[kind_name];
  if (kind.is_outdated) make_plan(kind);
  follows_plan_ = !kind.places.empty() && take_up(kind, store);
  step_ = &kind;
  owner_id_ = owner_id;
  has_left_ = false;
  displaced_ = 0;
  lives_.clear();
  requests_.clear();
}

void ActivationArena::abandon_step() {
  step_ = nullptr;
  follows_plan_ = false;
}

void ActivationArena::end_step() {
  Kind& kind = *step_;
  if (follows_plan_ && lives_.size() < kind.places.size()) leave_plan();
  ++counts_.steps;
  if (has_left_) ++counts_.left_steps;
  if (has_left_ || displaced_ > 0) {
    ++kind.other_steps;
  } else if (follows_plan_) {
    ++counts_.planned_steps;
    ++kind.planned_steps;
  }
  abandon_step();
  learn(kind);
}

// A moment is the number of requests so far: what is given back between two of them is free for the second.
void ActivationArena::learn(Kind& kind) {
  if (kind.equal_steps > 0 && asks_for_the_same(kind.lives, lives_)) {
    ++kind.equal_steps;
    for (size_t i = 0; i < lives_.size(); ++i) kind.lives[i].end = std::max(kind.lives[i].end, lives_[i].end);
  } else {
    kind.lives = lives_;
    kind.equal_steps = 1;
  }
  if (!kind.places.empty() && !has_left_ && displaced_ == 0) return;
  if (kind.other_steps > 4 + kind.planned_steps / 8)
    give_up(kind);
  else if (kind.equal_steps >= kind.equal_steps_needed)
    kind.is_outdated = true;
}

// Small blocks lie behind the large ones: between them they would take the alignment that the sizes of large
// ones give these.
void ActivationArena::make_plan(Kind& kind) {
  std::vector<BlockLife> large, small, all;
  for (const BlockLife& life : kind.lives) {
    if (life.end == BlockLife::kForever) continue;
    (life.bytes < SegmentBlocks::kSmallBytes ? small : large).push_back(life);
    all.push_back(life);
  }
  const ArenaPlan large_plan = plan_arena(large), small_plan = plan_arena(small);
  kind.begin = round_up(slab_.used_end(), slab_.page_bytes());
  const int64_t small_begin = kind.begin + large_plan.total_bytes;
  kind.end = small_begin + small_plan.total_bytes;
  kind.peak_bytes = peak_bytes(all);
  kind.places.clear();
  auto large_offset = large_plan.offsets.begin(), small_offset = small_plan.offsets.begin();
  for (const BlockLife& life : kind.lives) {
    Place& place = kind.places.emplace_back(Place{.bytes = life.bytes});
    if (life.end == BlockLife::kForever) continue;
    const bool is_small = life.bytes < SegmentBlocks::kSmallBytes;
    place.offset = is_small ? small_begin + *small_offset++ : kind.begin + *large_offset++;
  }
  kind.is_outdated = kind.is_taken_up = false;
}

// What the store held for such steps makes room for the slab; where that would be more, by a page or
// more, the plan is no gain.
bool ActivationArena::take_up(Kind& kind, BlockStore& store) {
  if (kind.is_taken_up) {
    if (slab_.cover(kind.begin, kind.end)) return true;
    store.trim(store.held_bytes());
    if (slab_.cover(kind.begin, kind.end)) return true;
    slab_.trim();
    return false;
  }
  const int64_t held_before = store.held_bytes() + slab_.mapped_bytes();
  store.trim(store.held_bytes());
  slab_.trim();
  const int64_t new_bytes = round_up(kind.end - kind.begin, slab_.page_bytes());
  const bool is_no_more =
      store.held_bytes() + slab_.mapped_bytes() + new_bytes < held_before + slab_.page_bytes();
  if (is_no_more && slab_.cover(kind.begin, kind.end)) {
    kind.is_taken_up = true;
    ++counts_.plans;
    return true;
  }
  ++counts_.refused_plans;
  give_up(kind);
  return false;
}

void ActivationArena::give_up(Kind& kind) {
  slab_.trim();
  kind.places.clear();
  kind.is_taken_up = kind.is_outdated = false;
  kind.planned_steps = kind.other_steps = kind.equal_steps = 0;
  kind.equal_steps_needed *= 2;
}

void ActivationArena::leave_plan() {
  follows_plan_ = false;
  has_left_ = true;
  slab_.trim();
}

std::byte* ActivationArena::place(int64_t bytes) {
  if (!follows_plan_) return nullptr;
  const size_t request = lives_.size();
  if (request >= step_->places.size() || step_->places[request].bytes != bytes) {
    leave_plan();
    return nullptr;
  }
  const int64_t offset = step_->places[request].offset;
  if (offset < 0) return nullptr;
  std::byte* data = slab_.take_at(offset, bytes);
  if (data != nullptr) {
    ++counts_.placed;
  } else {
    ++counts_.displaced;
    ++displaced_;
  }
  return data;
}

void ActivationArena::note(const std::byte* data, int64_t bytes) {
  requests_.insert_or_assign(data, lives_.size());
  lives_.push_back({.bytes = bytes, .begin = static_cast<int64_t>(lives_.size())});
}

bool ActivationArena::give_back(std::byte* data) {
  if (is_in_step()) {
    if (const auto request = requests_.find(data); request != requests_.end()) {
      lives_[request->second].end = static_cast<int64_t>(lives_.size());
      requests_.erase(request);
    }
  }
  if (!slab_.contains(data)) return false;
  slab_.give_back(data);
  return true;
}

std::string ActivationArena::report() const {
  const auto human = [](int64_t bytes) { return human_bytes(static_cast<double>(bytes)); };
  std::string text;
  for (const auto& [name, kind] : kinds_) {
    if (kind.places.empty()) {
      text += fmt::format("  {}: no plan\n", name);
      continue;
    }
    const auto num_placed = std::count_if(kind.places.begin(), kind.places.end(),
                                          [](const Place& place) { return place.offset >= 0; });
    text +=
        fmt::format("  {}: {} of {} requests in {}, {} at the worst moment; {} steps as planned, {} others\n",
                    name, num_placed, kind.places.size(), human(kind.end - kind.begin),
                    human(kind.peak_bytes), kind.planned_steps, kind.other_steps);
  }
  text += fmt::format("  {} requests placed, {} displaced; {} plans, {} refused\n", counts_.placed,
                      counts_.displaced, counts_.plans, counts_.refused_plans);
  return text;
}

ArenaScope::ArenaScope(Pool& pool, const std::string& owner, const std::string& kind)
    : pool_(pool.arena_ != nullptr ? &pool : nullptr), num_exceptions_(std::uncaught_exceptions()) {
  if (pool_ == nullptr) return;
  const OwnerScope scope(*pool_->ledger_, owner);
  const int owner_id = pool_->ledger_->take(0);
  const std::lock_guard lock(pool_->mutex_);
  pool_->arena_->begin_step(kind, owner_id, *pool_->store_);
}

ArenaScope::~ArenaScope() {
  if (pool_ == nullptr) return;
  const std::lock_guard lock(pool_->mutex_);
  if (std::uncaught_exceptions() > num_exceptions_)
    pool_->arena_->abandon_step();
  else
    pool_->arena_->end_step();
}

}  // namespace megalith
