#include "megalith/tokenizer/bpe_trainer.h"

#include <algorithm>
#include <array>
#include <chrono>
#include <unordered_map>
#include <unordered_set>

#include "megalith/base/error.h"
#include "megalith/base/files.h"
#include "megalith/base/math.h"
#include "megalith/base/progress.h"
#include "megalith/tokenizer/byte_alphabet.h"
#include "megalith/tokenizer/count_pieces.h"
#include "megalith/tokenizer/merge_learner.h"
#include "megalith/tokenizer/tokenizer_json.h"
#include "megalith/tokenizer/utf8.h"

namespace megalith {
namespace {

constexpr int64_t kLargestVocab = int64_t{1} << 24;
constexpr int64_t kMergesBetweenReports = 64;

double seconds_since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

void check_options(const BpeTrainOptions& options) {
  std::unordered_set<std::string> seen;
  for (const std::string& token : options.special_tokens) {
    if (token.empty()) throw UsageError("special_tokens: a special token cannot be empty");
    if (!seen.insert(token).second)
      throw UsageError(fmt::format("special_tokens: '{}' is given twice", token));
    const auto bytes = alphabet_to_bytes(token);
    if (bytes && bytes->size() == 1)
      throw UsageError(
          fmt::format("special_tokens: '{}' is the name of a single byte; choose a longer one", token));
    if (!is_utf8(token)) throw UsageError("special_tokens: a special token must be valid UTF-8");
  }
  const int64_t least = 256 + static_cast<int64_t>(options.special_tokens.size());
  if (options.vocab_size < least || options.vocab_size > kLargestVocab)
    throw UsageError(
        fmt::format("vocab_size: {} is outside [{}, {}]; 256 bytes and {} special tokens have a place each",
                    options.vocab_size, least, kLargestVocab, options.special_tokens.size()));
  if (options.min_frequency < 1)
    throw UsageError(fmt::format("min_frequency: {} is less than 1", options.min_frequency));
  if (options.max_bytes < 0) throw UsageError(fmt::format("max_bytes: {} is negative", options.max_bytes));
}

/// Special tokens, then the bytes in the order of their characters in the alphabet.
BpeModel initial_model(const BpeTrainOptions& options) {
  BpeModel model;
  model.pattern = options.pattern;
  for (const std::string& token : options.special_tokens) {
    model.added_tokens.push_back({token, narrow<int32_t>(model.tokens.size()), true});
    model.tokens.push_back(token);
  }
  std::array<uint8_t, 256> bytes;
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<uint8_t>(i);
  std::sort(bytes.begin(), bytes.end(),
            [](uint8_t a, uint8_t b) { return byte_to_code_point(a) < byte_to_code_point(b); });
  for (const uint8_t byte : bytes) model.tokens.emplace_back(1, static_cast<char>(byte));
  return model;
}

MergeLearner make_learner(const BpeModel& model, PieceCensus& census) {
  std::array<int32_t, 256> byte_ids{};
  for (size_t id = model.added_tokens.size(); id < model.tokens.size(); ++id)
    byte_ids[static_cast<uint8_t>(model.tokens[id][0])] = static_cast<int32_t>(id);
  MergeLearner learner;
  std::vector<int32_t> symbols;
  for (PieceCounts& shard : census.shards) {
    for (const auto& entry : shard.entries()) {
      symbols.clear();
      for (const char byte : shard.bytes_of(entry)) symbols.push_back(byte_ids[static_cast<uint8_t>(byte)]);
      if (symbols.size() > 1) learner.add_word(symbols, entry.count);
    }
    shard = {};
  }
  return learner;
}

/// Merges until the vocabulary is full or no pair is frequent enough; false when stopped.
bool learn_merges(const BpeTrainOptions& options, MergeLearner& learner, BpeModel& model) {
  // Two pairs may spell the same token; a special token is never spelled by a merge.
  std::unordered_map<std::string, int32_t> ids;
  for (size_t id = model.added_tokens.size(); id < model.tokens.size(); ++id)
    ids.emplace(model.tokens[id], static_cast<int32_t>(id));
  const std::unordered_set<std::string> special(options.special_tokens.begin(), options.special_tokens.end());

  const auto first = static_cast<int64_t>(model.tokens.size());
  Progress progress({.title = "learn merges", .total = options.vocab_size - first, .unit = "tokens"});
  while (static_cast<int64_t>(model.tokens.size()) < options.vocab_size) {
    if (model.merges.size() % kMergesBetweenReports == 0) {
      if (options.should_stop && options.should_stop()) return false;
      progress.update(static_cast<int64_t>(model.tokens.size()) - first);
    }
    const auto [pair, count] = learner.best();
    if (count < options.min_frequency) break;
    const std::string token = model.tokens[pair.left] + model.tokens[pair.right];
    if (special.contains(bytes_to_alphabet(token))) {
      learner.forbid(pair);
      continue;
    }
    const auto [entry, is_new] = ids.emplace(token, static_cast<int32_t>(model.tokens.size()));
    if (is_new) model.tokens.push_back(token);
    model.merges.push_back({pair.left, pair.right, entry->second});
    learner.merge(pair, entry->second);
  }
  progress.update(static_cast<int64_t>(model.tokens.size()) - first);
  progress.finish();
  return true;
}

}  // namespace

BpeTrainResult learn_bpe(const BpeTrainOptions& options, const NextText& next_text) {
  check_options(options);
  BpeTrainResult result;
  const auto count_begin = std::chrono::steady_clock::now();
  PieceCensus census = count_pieces(options, next_text);
  result.num_bytes = census.num_bytes;
  result.num_pieces = census.num_pieces;
  for (const PieceCounts& shard : census.shards)
    result.num_distinct_pieces += static_cast<int64_t>(shard.size());
  result.count_s = seconds_since(count_begin);
  result.is_stopped = census.is_stopped;
  if (result.is_stopped) return result;
  MG_CHECK(census.num_bytes > 0, "the corpus is empty: there is no text to learn a vocabulary from");

  const auto merge_begin = std::chrono::steady_clock::now();
  BpeModel model = initial_model(options);
  MergeLearner learner = make_learner(model, census);
  result.is_stopped = !learn_merges(options, learner, model);
  result.merge_s = seconds_since(merge_begin);
  if (!result.is_stopped) result.model = std::move(model);
  return result;
}

BpeTrainResult train_bpe(const BpeTrainOptions& options, std::span<const std::filesystem::path> files,
                         const std::filesystem::path& output) {
  BpeTrainOptions sized = options;
  for (const std::filesystem::path& file : files) {
    std::error_code error;
    const auto bytes = std::filesystem::file_size(file, error);
    if (!error) sized.expected_bytes += static_cast<int64_t>(bytes);
  }
  // Opened before the work: a place that cannot be written is told at once.
  if (output.has_parent_path()) make_directories(output.parent_path());
  MG_CHECK(output.has_filename() && !std::filesystem::is_directory(output),
           "output: '{}' is not the name of a file", output.string());
  AtomicFile file(output);
  BpeTrainResult result = learn_bpe(sized, files_as_text(files));
  if (result.is_stopped) return result;
  file.write(tokenizer_json(result.model));
  file.commit();
  return result;
}

}  // namespace megalith
