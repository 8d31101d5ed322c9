#pragma once
// defines: GptDatasetOptions, GptDataset

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "megalith/data/gpt_indices.h"
#include "megalith/data/sample_dataset.h"
#include "megalith/data/split.h"
#include "megalith/data/token_source.h"

namespace megalith {

struct GptDatasetOptions {
  int64_t seq_length = 0;
  uint32_t seed = 1234;
  bool add_extra_token_to_sequence = true;
  bool drop_last_partial_sequence = true;
  /// Ids must be below it; nullopt: not checked.
  std::optional<int64_t> vocab_size;
  bool use_cache = true;
  /// Where the indices are kept; nullopt: `PREFIX/cache/GPTDataset_indices`, and a failure to write there is
  /// only a warning.
  std::optional<std::filesystem::path> cache_path;
};

/// One split of one token source, cut into samples that run across the ends of documents, shuffled: Megatron
/// Core's GPTDataset, sample for sample.
class GptDataset final : public SampleDataset {
 public:
  /// `share` as from parse_split; `num_samples` as in GptIndexRequest.
  GptDataset(std::shared_ptr<const TokenSource> source, SplitName split, SplitRange<double> share,
             std::optional<int64_t> num_samples, const GptDatasetOptions& options);

  int64_t size() const override { return indices_.num_samples(); }
  int64_t seq_length() const override { return seq_length_; }
  bool has_extra_token() const override { return has_extra_token_; }
  void read(int64_t sample, std::span<int32_t> text) const override;

  const GptIndices& indices() const { return indices_; }

 private:
  void read_sequence(int64_t sequence, int64_t offset, std::span<int32_t> out) const;

  std::shared_ptr<const TokenSource> source_;
  std::optional<int64_t> vocab_size_;
  int64_t seq_length_;
  bool has_extra_token_;
  GptIndices indices_;
};

}  // namespace megalith
