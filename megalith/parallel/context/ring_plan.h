#pragma once
// defines: Meeting, RingPlan

#include <memory>
#include <vector>

#include "megalith/parallel/context/context_heads.h"
#include "megalith/parallel/context/packed_context.h"

namespace megalith {

/// Some queries of one rank and keys of another that they see, attended to at once.
struct Meeting {
  int part;  ///< of the rank's queries, which have one running sum
  ContextHeads::Stretch queries, keys;
  bool is_causal = false;
  int64_t window = -1, key_gap = 0;  ///< as in ops/attention.h
  VisibleKeys visible = {};
  uint64_t stream = 0;  ///< of the dropout mask
};

/// Who attends to what in a ring of ranks: by halves of the zigzag where each row is one document, else all
/// tokens of two ranks at once, with a first and a last key for each query.
class RingPlan {
 public:
  RingPlan(const ContextHeads& heads, std::shared_ptr<const PackedContext> packed)
      : heads_(&heads), packed_(std::move(packed)) {}

  int num_parts() const { return packed_ == nullptr ? 2 : 1; }
  ContextHeads::Stretch part(int index) const {
    return packed_ == nullptr ? heads_->half(index) : heads_->all();
  }
  /// Whether a query of one rank sees a key of another. All ranks know it of all.
  bool meets(int query_rank, int key_rank) const;
  /// Whether every rank's queries see keys of the rank `places` before it.
  bool all_meet(int places) const;
  /// Of this rank's queries. Each part meets its own keys first.
  std::vector<Meeting> meetings(int key_rank, Exec& exec) const;

 private:
  std::vector<Meeting> half_meetings(int query_rank, int key_rank) const;

  const ContextHeads* heads_;
  std::shared_ptr<const PackedContext> packed_;
};

}  // namespace megalith
