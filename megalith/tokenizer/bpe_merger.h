#pragma once
// defines: BpeMerger

#include <cstdint>
#include <span>
#include <vector>

#include "megalith/tokenizer/bpe_model.h"

namespace megalith {

/// The merge table, and the merging of a piece: while any neighbours have a merge, the one of lowest rank
/// (leftmost among equals) is done. Immutable after construction.
class BpeMerger {
 public:
  explicit BpeMerger(std::span<const BpeMerge> merges);

  /// Working memory of one thread.
  struct Scratch {
    struct Node {
      int32_t id;
      int32_t previous;
      int32_t next;
    };
    struct Candidate {
      uint32_t rank;
      int32_t position;
      int32_t result;
      int32_t right;  ///< position of the right half when the candidate was made
    };
    std::vector<uint64_t> merges;
    std::vector<Node> nodes;
    std::vector<Candidate> heap;
  };

  /// Merges `ids` in place. Short pieces by repeated scans, long ones with a heap in O(n log n).
  void merge(std::vector<int32_t>& ids, Scratch& scratch) const;

 private:
  struct Slot {
    uint64_t pair;
    uint32_t rank;
    int32_t result;
  };
  const Slot* find(int32_t left, int32_t right) const;
  uint64_t find_packed(int32_t left, int32_t right) const;
  void merge_short(std::vector<int32_t>& ids, Scratch& scratch) const;
  void merge_long(std::vector<int32_t>& ids, Scratch& scratch) const;

  std::vector<Slot> slots_;  ///< open addressing with linear probes, at most half full
  int shift_ = 0;
};

}  // namespace megalith
