#pragma once
// defines: Vocabulary, SplitSizes, Datasets, build_datasets

#include <array>
#include <cstdint>
#include <memory>
#include <optional>

#include "megalith/data/data_config.h"
#include "megalith/data/sample_dataset.h"
#include "megalith/data/split.h"

namespace megalith {

/// What the data needs to know of the tokenizer.
struct Vocabulary {
  std::optional<int64_t> size;  ///< ids are checked against it; needed for mock data
  int32_t eod = -1;
};

/// Samples wanted of each split: 0 builds none, nullopt one epoch (without weights only).
using SplitSizes = std::array<std::optional<int64_t>, kNumSplits>;

/// By SplitName; nullptr where no sample was asked for.
using Datasets = std::array<std::shared_ptr<const SampleDataset>, kNumSplits>;

/// The data sets of a run, as Megatron's BlendedMegatronDatasetBuilder makes them: one source; a weighted
/// blend, of size sum(ceil(N * w)); or a blend without weights in proportion to the sizes, of min(N, all)
/// samples or all. Throws Error for a split that is asked for samples and has no data. Of several
/// ranks, one builds first; the others then map its cache.
Datasets build_datasets(const DataConfig& config, const SplitSizes& sizes, const Vocabulary& vocabulary);

}  // namespace megalith
