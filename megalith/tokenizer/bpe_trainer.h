#pragma once
// defines: BpeTrainOptions, BpeTrainResult, NextText, files_as_text, learn_bpe, train_bpe

#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "megalith/tokenizer/bpe_model.h"
#include "megalith/tokenizer/split_pattern.h"

namespace megalith {

struct BpeTrainOptions {
  /// Ids in all: the special tokens, the 256 bytes and at most the rest in merges.
  int64_t vocab_size = 32768;
  /// They take the first ids. Tokenizer::eod() finds the end of a document among them by its name.
  std::vector<std::string> special_tokens = {"<|endoftext|>"};
  /// A pair that occurs less often is not merged.
  int64_t min_frequency = 2;
  /// Reading stops after this much text; 0 reads everything.
  int64_t max_bytes = 0;
  SplitPattern pattern = SplitPattern::kGpt2;
  int num_threads = 0;  ///< 0: hardware_threads()
  /// Size of the text, for the progress line; 0 when unknown.
  int64_t expected_bytes = 0;
  /// Asked now and then from one thread at a time; true ends the training without a result.
  std::function<bool()> should_stop;
};

struct BpeTrainResult {
  BpeModel model;  ///< empty when stopped
  bool is_stopped = false;
  int64_t num_bytes = 0;   ///< of text read
  int64_t num_pieces = 0;  ///< occurrences
  int64_t num_distinct_pieces = 0;
  double count_s = 0;
  double merge_s = 0;
};

/// Puts the next text into the string and returns true, or returns false at the end. Called by one thread at
/// a time. Pieces do not reach across texts.
using NextText = std::function<bool(std::string&)>;

/// The files one after the other, long ones in parts of some MiB that are cut where no piece is cut. Throws
/// Error naming a file that is missing or cannot be read.
NextText files_as_text(std::span<const std::filesystem::path> files);

/// Learns a byte-level BPE vocabulary. Memory grows with the number of distinct pieces, not with the text.
/// The result is the same for any number of threads: the most frequent pair is merged, among equals the one
/// with the smaller ids; bytes have their ids in the order of their characters in GPT-2's alphabet. Pieces of
/// more than 1024 bytes teach nothing and are left out. Throws Error for an empty corpus and UsageError for
/// options that cannot be met.
BpeTrainResult learn_bpe(const BpeTrainOptions& options, const NextText& next_text);

/// learn_bpe over files; unless stopped, writes tokenizer.json to `output` at once and whole.
BpeTrainResult train_bpe(const BpeTrainOptions& options, std::span<const std::filesystem::path> files,
                         const std::filesystem::path& output);

}  // namespace megalith
