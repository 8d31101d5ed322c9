#include "megalith/tokenizer/count_pieces.h"

#include <algorithm>
#include <mutex>
#include <string>

#include "megalith/base/parallel.h"
#include "megalith/base/progress.h"

namespace megalith {
namespace {

constexpr size_t kNumShards = 64;
constexpr int kShardShift = 58;         // the shard is in the top bits, the table index in the low ones
constexpr size_t kLongestPiece = 1024;  // bytes

/// Hands the texts to the threads and keeps the sums that all of them share.
class TextQueue {
 public:
  TextQueue(const BpeTrainOptions& options, const NextText& next_text)
      : options_(options),
        next_text_(next_text),
        progress_({.title = "count words", .total = total_of(options), .unit = "B"}) {}

  bool next(std::string& text) {
    const std::lock_guard lock(mutex_);
    text.clear();
    if (is_done_) return false;
    is_stopped_ = options_.should_stop && options_.should_stop();
    is_done_ = true;  // also when next_text throws: the other threads then end
    if (is_stopped_ || !next_text_(text)) {
      if (!is_stopped_) progress_.finish();
      return false;
    }
    if (options_.max_bytes > 0 && num_bytes_ + static_cast<int64_t>(text.size()) >= options_.max_bytes)
      text.resize(static_cast<size_t>(options_.max_bytes - num_bytes_));
    num_bytes_ += static_cast<int64_t>(text.size());
    is_done_ = options_.max_bytes > 0 && num_bytes_ >= options_.max_bytes;
    progress_.update(num_bytes_);
    return true;
  }
  int64_t num_bytes() const { return num_bytes_; }
  bool is_stopped() const { return is_stopped_; }

 private:
  static int64_t total_of(const BpeTrainOptions& options) {
    if (options.max_bytes == 0) return options.expected_bytes;
    return options.expected_bytes == 0 ? options.max_bytes
                                       : std::min(options.max_bytes, options.expected_bytes);
  }

  const BpeTrainOptions& options_;
  const NextText& next_text_;
  std::mutex mutex_;
  Progress progress_;
  int64_t num_bytes_ = 0;
  bool is_done_ = false;
  bool is_stopped_ = false;
};

/// What one thread has counted.
struct ThreadCounts {
  std::vector<PieceCounts> shards = std::vector<PieceCounts>(kNumShards);
  int64_t num_pieces = 0;

  void add(SplitPattern pattern, std::string_view text) {
    for (size_t begin = 0; begin < text.size(); ++num_pieces) {
      const size_t end = next_piece(pattern, text, begin);
      const std::string_view piece = text.substr(begin, end - begin);
      begin = end;
      if (piece.size() > kLongestPiece) continue;
      const uint64_t hash = PieceCounts::hash_of(piece);
      shards[hash >> kShardShift].add(piece, hash, 1);
    }
  }
};

}  // namespace

PieceCensus count_pieces(const BpeTrainOptions& options, const NextText& next_text) {
  const int num_threads = options.num_threads > 0 ? options.num_threads : hardware_threads();
  TextQueue queue(options, next_text);
  std::vector<ThreadCounts> threads(static_cast<size_t>(num_threads));
  parallel_for(num_threads, num_threads, [&](int64_t thread) {
    std::string text;
    while (queue.next(text)) threads[static_cast<size_t>(thread)].add(options.pattern, text);
  });

  PieceCensus census;
  census.is_stopped = queue.is_stopped();
  census.num_bytes = queue.num_bytes();
  for (const ThreadCounts& counts : threads) census.num_pieces += counts.num_pieces;
  parallel_for(kNumShards, num_threads, [&](int64_t shard) {
    const auto s = static_cast<size_t>(shard);
    for (size_t t = 1; t < threads.size(); ++t) threads[0].shards[s].absorb(threads[t].shards[s]);
  });
  census.shards = std::move(threads[0].shards);
  return census;
}

}  // namespace megalith
