#include "megalith/tokenizer/merge_learner.h"

#include <algorithm>
#include <utility>

#include "megalith/base/math.h"

namespace megalith {

void MergeLearner::add_word(std::span<const int32_t> symbols, int64_t count) {
  MG_ASSERT(!is_counted_);
  words_.push_back({symbols_.size(), narrow<uint32_t>(symbols.size()), count});
  symbols_.insert(symbols_.end(), symbols.begin(), symbols.end());
}

bool MergeLearner::comes_later(const HeapEntry& a, const HeapEntry& b) {
  return a.count != b.count ? a.count < b.count : a.pair > b.pair;
}

void MergeLearner::push(Pair pair, int64_t count) {
  heap_.push_back({count, pair});
  std::push_heap(heap_.begin(), heap_.end(), comes_later);
}

void MergeLearner::count_pairs() {
  is_counted_ = true;
  for (uint32_t w = 0; w < words_.size(); ++w) {
    const int32_t* symbols = symbols_.data() + words_[w].begin;
    for (uint32_t i = 0; i + 1 < words_[w].length; ++i) {
      PairState& state = pairs_[{symbols[i], symbols[i + 1]}];
      state.count += words_[w].count;
      if (state.words.empty() || state.words.back() != w) state.words.push_back(w);
    }
  }
  heap_.reserve(pairs_.size());
  for (const auto& [pair, state] : pairs_) heap_.push_back({state.count, pair});
  std::make_heap(heap_.begin(), heap_.end(), comes_later);
}

MergeLearner::Best MergeLearner::best() {
  if (!is_counted_) count_pairs();
  while (!heap_.empty()) {
    const HeapEntry top = heap_.front();
    const auto found = pairs_.find(top.pair);
    const int64_t count = found == pairs_.end() ? 0 : found->second.count;
    if (top.count == count && count > 0) return {top.pair, count};
    std::pop_heap(heap_.begin(), heap_.end(), comes_later);
    heap_.pop_back();
    // A count that has grown was pushed when it grew.
    if (count > 0 && count < top.count) push(top.pair, count);
    if (count == 0 && found != pairs_.end()) pairs_.erase(found);
  }
  return {{-1, -1}, 0};
}

void MergeLearner::forbid(Pair pair) {
  pairs_.erase(pair);
}

void MergeLearner::merge(Pair pair, int32_t result) {
  auto found = pairs_.find(pair);
  MG_ASSERT(found != pairs_.end());
  const std::vector<uint32_t> words = std::move(found->second.words);
  found->second = {};
  increased_.clear();
  ++num_merges_;
  for (const uint32_t word : words) merge_in_word(word, pair, result);
  pairs_.erase(pair);
  for (const Pair changed : increased_) {  // once for each, with its final count
    const auto state = pairs_.find(changed);
    if (state != pairs_.end() && state->second.count > 0) push(changed, state->second.count);
  }
}

void MergeLearner::increase(Pair pair, uint32_t word_index) {
  PairState& state = pairs_[pair];
  state.count += words_[word_index].count;
  if (state.words.empty() || state.words.back() != word_index) state.words.push_back(word_index);
  if (std::exchange(state.last_increase, num_merges_) != num_merges_) increased_.push_back(pair);
}

void MergeLearner::merge_in_word(uint32_t word_index, Pair pair, int32_t result) {
  Word& word = words_[word_index];
  int32_t* symbols = symbols_.data() + word.begin;
  const auto decrease = [&](Pair gone) {
    const auto state = pairs_.find(gone);
    if (state != pairs_.end()) state->second.count -= word.count;
  };
  uint32_t kept = 0;
  for (uint32_t i = 0; i < word.length;) {
    const bool is_match = i + 1 < word.length && symbols[i] == pair.left && symbols[i + 1] == pair.right;
    if (!is_match) {
      symbols[kept++] = symbols[i++];
      continue;
    }
    // At this moment the word reads [0, kept) then [i, length): the four pairs at its borders change.
    if (kept > 0) {
      decrease({symbols[kept - 1], pair.left});
      increase({symbols[kept - 1], result}, word_index);
    }
    if (i + 2 < word.length) {
      decrease({pair.right, symbols[i + 2]});
      increase({result, symbols[i + 2]}, word_index);
    }
    symbols[kept++] = result;
    i += 2;
  }
  word.length = kept;
}

}  // namespace megalith
