#pragma once
// defines: LengthSummary, DatasetSummary, summarize_dataset, to_text, decode_document, DumpIndexOptions,
// dump_index

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "megalith/data/indexed_dataset.h"

namespace megalith {

class Tokenizer;

/// Lengths of documents in tokens.
struct LengthSummary {
  double mean = 0;
  int64_t shortest = 0;
  int64_t longest = 0;
  /// Nearest-rank percentiles at kPercents.
  static constexpr std::array<int, 5> kPercents{10, 50, 90, 95, 99};
  std::array<int64_t, 5> percentiles{};
  /// histogram[0] counts empty documents, histogram[k] those of [2^(k-1), 2^k) tokens.
  std::vector<int64_t> histogram;
};

struct DatasetSummary {
  std::string name;
  TokenType token_type = TokenType::kI32;
  int64_t documents = 0;
  int64_t sequences = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;  ///< of both files
  LengthSummary lengths;
};

DatasetSummary summarize_dataset(const IndexedDataset& data);
/// Counts, percentiles and a histogram, for people.
std::string to_text(const DatasetSummary& summary);

/// The text of the first `max_tokens` tokens of a document. Throws Error when there is no such document.
std::string decode_document(const IndexedDataset& data, int64_t document, int64_t max_tokens,
                            const Tokenizer& tokenizer);

struct DumpIndexOptions {
  std::string data_path;               ///< one prefix
  std::filesystem::path directory;     ///< made if it is not there
  std::string split = "969,30,1";      ///< shares of the three splits
  std::string which = "train";         ///< split whose indices are written
  std::optional<int64_t> num_samples;  ///< nullopt: one epoch
  int64_t seq_length = 1024;
  int64_t seed = 1234;
};

/// Writes document_index.npy, sample_index.npy and shuffle_index.npy, equal to Megatron Core's. Returns the
/// number of samples.
int64_t dump_index(const DumpIndexOptions& options);

}  // namespace megalith
