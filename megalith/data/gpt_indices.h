#pragma once
// defines: GptIndexRequest, GptIndices, build_gpt_indices

#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "megalith/data/index_array.h"
#include "megalith/data/split.h"

namespace megalith {

/// What determines the order of the samples of a GPT data set.
struct GptIndexRequest {
  std::string name;                    ///< of the token source, for messages
  SplitRange<int64_t> sequences;       ///< the split's part of the source
  std::optional<int64_t> num_samples;  ///< at least this many; nullopt: one epoch
  int64_t seq_length = 0;              ///< S
  uint32_t seed = 1234;
  bool add_extra_token_to_sequence = true;  ///< samples hold S + 1 tokens, so that labels are the next tokens
  bool drop_last_partial_sequence = true;
};

/// Megatron Core's three indices of a GPTDataset, element for element.
///   document_index [epochs * sequences] int32: sequences in the order they are read
///   sample_index   [samples + 1, 2] int32 or int64: place in document_index, token offset where a sample
///   begins shuffle_index  [samples] uint32 or int64: the sample to show at each turn
struct GptIndices {
  IndexArray document_index;
  IndexArray sample_index;
  IndexArray shuffle_index;

  int64_t num_samples() const { return shuffle_index.num_elements(); }
};

/// `lengths` are those of all sequences of the source. Throws Error when the part holds no tokens, or when
/// one epoch of it (num_samples = nullopt) is shorter than a sample.
GptIndices build_gpt_indices(std::span<const int32_t> lengths, const GptIndexRequest& request);

}  // namespace megalith
