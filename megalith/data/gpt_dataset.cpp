#include "megalith/data/gpt_dataset.h"

#include <algorithm>
#include <string>
#include <utility>

#include "megalith/base/error.h"
#include "megalith/data/index_cache.h"

namespace megalith {
namespace {

std::string cache_key(const GptIndexRequest& request, std::span<const int32_t> lengths) {
  // The lengths are part of the key: other data under the same path must not find the old order.
  return fmt::format(
      "class: GPTDataset\ndataset_path: {}\nsequences: {} checksum {:016x}\npart: [{}, {})\nnum_samples: {}\n"
      "sequence_length: {}\nrandom_seed: {}\nadd_extra_token_to_sequence: {}\ndrop_last_partial_sequence: "
      "{}\n",
      request.name, lengths.size(), hash_bytes(std::as_bytes(lengths)), request.sequences.begin,
      request.sequences.end, request.num_samples ? fmt::to_string(*request.num_samples) : "one epoch",
      request.seq_length, request.seed, request.add_extra_token_to_sequence,
      request.drop_last_partial_sequence);
}

GptIndices cached_indices(const GptIndexRequest& request, std::span<const int32_t> lengths, SplitName split,
                          const GptDatasetOptions& options) {
  if (!options.use_cache) return build_gpt_indices(lengths, request);
  const auto directory = options.cache_path.value_or(request.name + "/cache/GPTDataset_indices");
  const IndexCache cache(
      directory, fmt::format("GPTDataset-{}", split_name(split)), cache_key(request, lengths),
      options.cache_path ? IndexCache::OnWriteFailure::kThrow : IndexCache::OnWriteFailure::kWarn);
  std::vector<IndexArray> arrays = cache.get({"document_index", "sample_index", "shuffle_index"}, [&] {
    GptIndices built = build_gpt_indices(lengths, request);
    return std::vector<IndexArray>{built.document_index, built.sample_index, built.shuffle_index};
  });
  return {std::move(arrays[0]), std::move(arrays[1]), std::move(arrays[2])};
}

}  // namespace

GptDataset::GptDataset(std::shared_ptr<const TokenSource> source, SplitName split, SplitRange<double> share,
                       std::optional<int64_t> num_samples, const GptDatasetOptions& options)
    : source_(std::move(source)),
      vocab_size_(options.vocab_size),
      seq_length_(options.seq_length),
      has_extra_token_(options.add_extra_token_to_sequence) {
  const GptIndexRequest request{
      .name = source_->name(),
      .sequences = split_sequences(share, source_->num_sequences()),
      .num_samples = num_samples,
      .seq_length = options.seq_length,
      .seed = options.seed,
      .add_extra_token_to_sequence = options.add_extra_token_to_sequence,
      .drop_last_partial_sequence = options.drop_last_partial_sequence,
  };
  MG_CHECK(request.sequences.begin < request.sequences.end,
           "{}: the {} split is empty: its share of {} sequences rounds to none", request.name,
           split_name(split), source_->num_sequences());
  indices_ = cached_indices(request, source_->lengths(), split, options);
}

void GptDataset::read(int64_t sample, std::span<int32_t> text) const {
  MG_CHECK(sample >= 0 && sample < size(), "{}: there is no sample {} ({} samples)", source_->name(), sample,
           size());
  MG_ASSERT(static_cast<int64_t>(text.size()) == text_length());
  const int64_t turn = indices_.shuffle_index[sample];
  const int64_t first = indices_.sample_index[2 * turn];
  const int64_t first_offset = indices_.sample_index[2 * turn + 1];
  const int64_t last = indices_.sample_index[2 * turn + 2];
  const int64_t last_end = indices_.sample_index[2 * turn + 3] + (has_extra_token_ ? 1 : 0);

  size_t filled = 0;
  for (int64_t place = first; place <= last; ++place) {
    const int64_t sequence = indices_.document_index[place];
    const int64_t begin = place == first ? first_offset : 0;
    const int64_t end = place == last ? last_end : source_->length(sequence);
    const std::span<int32_t> part = text.subspan(filled, static_cast<size_t>(end - begin));
    read_sequence(sequence, begin, part);
    filled += part.size();
  }
  std::fill(text.begin() + static_cast<std::ptrdiff_t>(filled), text.end(), kNoToken);
}

void GptDataset::read_sequence(int64_t sequence, int64_t offset, std::span<int32_t> out) const {
  source_->read(sequence, offset, out);
  if (!vocab_size_) return;
  for (const int32_t token : out) {
    MG_CHECK(
        token >= 0 && token < *vocab_size_,
        "{}: document {} holds the token id {}, the vocabulary has the ids 0 to {}: was it made with another "
        "tokenizer?",
        source_->name(), source_->document_of(sequence), token, *vocab_size_ - 1);
  }
}

}  // namespace megalith
