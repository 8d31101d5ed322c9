#pragma once
// defines: ActivationArena, ArenaScope

#include <map>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "megalith/core/memory/arena_plan.h"
#include "megalith/core/memory/arena_slab.h"
#include "megalith/core/memory/pool.h"

namespace megalith {

/// Planned places for what one owner (core/memory/ledger.h) takes in steps: the activations. What others take
/// meanwhile, such as the tables of a batch, whose sizes change with its documents, is the store's. Of each
/// kind of step it notes what was asked for, in order, and what was given back before which request. When
/// steps in a row ask for the same sizes, all blocks that such a step returns get their places
/// (arena_plan.h), and from then on its N-th request lies at its address in every step. Blocks that outlive
/// the step are never in the plan.
///
/// A plan is advice, never trusted: a request gets its place when the size is the one that was noted and
/// nothing lies there now. Otherwise the pool's store serves it:
/// - a request of another size, or one too many: the step has left the plan, all that follows is the store's,
///   and the memory that lies free in the slab goes back to the device at once, for the store will need it;
/// - a place that is still taken: this request alone.
/// Two such steps in a row that ask for the same sizes make a new plan, with the longest lives of both. A
/// plan that fails more than four times, and for more than every eighth step, is given up, and the next one
/// needs twice as many equal steps in a row.
///
/// Not thread-safe: the pool has the lock. Streams: what goes for the pool's blocks goes for these, who takes
/// one stands behind the work of who gave it back on the rank's stream; a block that another stream uses is
/// given back behind it.
class ActivationArena {
 public:
  struct Counts {
    int64_t steps = 0;          ///< that ended
    int64_t planned_steps = 0;  ///< of these wholly as planned
    int64_t left_steps = 0;     ///< that had a plan and left it
    int64_t placed = 0;         ///< requests that got their place
    int64_t displaced = 0;      ///< whose place was still taken
    int64_t plans = 0;          ///< that were made and used
    int64_t refused_plans = 0;  ///< that would hold a page or more above what the store does
  };

  ActivationArena(std::unique_ptr<PageSource> pages, int64_t address_bytes);

  /// `owner_id` is the ledger's. `store` is where the memory for the plan's slab comes from: what lies free
  /// there is returned when a new plan is taken up.
  void begin_step(const std::string& kind, int owner_id, BlockStore& store);
  void end_step();
  /// A step that failed teaches nothing.
  void abandon_step();
  bool is_in_step() const { return step_ != nullptr; }
  /// Whose requests go through place() and note(); -1 outside of steps.
  int owner_id() const { return is_in_step() ? owner_id_ : -1; }

  /// The next request's place; null where the store is to serve it.
  std::byte* place(int64_t bytes);
  /// Where the next request came to lie, here or in the store.
  void note(const std::byte* data, int64_t bytes);
  /// Whether the block was one of the slab.
  bool give_back(std::byte* data);

  ArenaSlab& slab() { return slab_; }
  const Counts& counts() const { return counts_; }
  int64_t mapped_bytes() const { return slab_.mapped_bytes(); }
  /// What was planned and how often it held, a line for each kind of step.
  std::string report() const;

 private:
  struct Place {
    int64_t bytes = 0;
    int64_t offset = -1;  // -1: the store's
  };
  struct Kind {
    std::vector<BlockLife> lives;  // of the last steps that asked for the same sizes, the longest of each
    int64_t equal_steps = 0;       // in a row
    int64_t equal_steps_needed = 2;
    std::vector<Place> places;  // by request; empty: no plan
    int64_t begin = 0, end = 0;
    int64_t peak_bytes = 0;
    bool is_taken_up = false, is_outdated = false;
    int64_t planned_steps = 0, other_steps = 0;  // since there is a plan: as it says, and otherwise
  };
  void make_plan(Kind& kind);
  bool take_up(Kind& kind, BlockStore& store);
  void give_up(Kind& kind);
  void learn(Kind& kind);
  void leave_plan();

  ArenaSlab slab_;
  std::map<std::string, Kind> kinds_;
  Counts counts_;
  // Of the step that runs:
  Kind* step_ = nullptr;
  int owner_id_ = -1;
  bool follows_plan_ = false, has_left_ = false;
  int64_t displaced_ = 0;
  std::vector<BlockLife> lives_;
  std::unordered_map<const std::byte*, size_t> requests_;  // of blocks that are not back: which one
};

/// A step of some kind for the pool's arena, as long as it lives; nothing for a pool without one. What
/// `owner` takes inside and does not give back before the end outlives the step.
class ArenaScope {
 public:
  ArenaScope(Pool& pool, const std::string& owner, const std::string& kind);
  ~ArenaScope();
  ArenaScope(const ArenaScope&) = delete;
  ArenaScope& operator=(const ArenaScope&) = delete;

 private:
  Pool* pool_;  // null: nothing to do
  int num_exceptions_;
};

}  // namespace megalith
