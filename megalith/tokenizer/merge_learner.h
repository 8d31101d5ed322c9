#pragma once
// defines: MergeLearner

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace megalith {

/// The words of a corpus as symbol sequences, and how often each pair of neighbours occurs in it. merge()
/// rewrites only the words that hold the pair, and the counts of only the pairs that change.
class MergeLearner {
 public:
  struct Pair {
    int32_t left;
    int32_t right;
    auto operator<=>(const Pair&) const = default;
  };
  struct Best {
    Pair pair;
    int64_t count;
  };

  /// All words come before the first best().
  void add_word(std::span<const int32_t> symbols, int64_t count);

  /// The most frequent pair, the smaller one among equals; count 0 when none is left.
  Best best();
  /// Replaces the pair everywhere, from left to right.
  void merge(Pair pair, int32_t result);
  /// The pair will not be offered again.
  void forbid(Pair pair);

 private:
  struct Word {
    uint64_t begin;
    uint32_t length;
    int64_t count;
  };
  struct PairState {
    int64_t count = 0;
    uint32_t last_increase = 0;   ///< number of the merge that raised the count
    std::vector<uint32_t> words;  ///< where it was seen; words that lost it stay listed
  };
  struct HeapEntry {
    int64_t count;
    Pair pair;
  };
  struct PairHash {
    size_t operator()(Pair pair) const {
      const uint64_t key =
          static_cast<uint64_t>(static_cast<uint32_t>(pair.left)) << 32 | static_cast<uint32_t>(pair.right);
      return (key ^ key >> 29) * 0x9E3779B97F4A7C15ull >> 16;
    }
  };
  static bool comes_later(const HeapEntry& a, const HeapEntry& b);
  void count_pairs();
  void push(Pair pair, int64_t count);
  void merge_in_word(uint32_t word_index, Pair pair, int32_t result);
  void increase(Pair pair, uint32_t word_index);

  std::vector<int32_t> symbols_;
  std::vector<Word> words_;
  std::unordered_map<Pair, PairState, PairHash> pairs_;
  /// Counts may be out of date: best() puts them right when they come to the top.
  std::vector<HeapEntry> heap_;
  std::vector<Pair> increased_;  ///< by the merge under way
  uint32_t num_merges_ = 0;
  bool is_counted_ = false;
};

}  // namespace megalith
