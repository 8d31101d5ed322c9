#include "megalith/data/build_datasets.h"

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/data/blend.h"
#include "megalith/data/blended_dataset.h"
#include "megalith/data/gpt_dataset.h"
#include "megalith/data/indexed_dataset.h"
#include "megalith/data/mock_tokens.h"

namespace megalith {
namespace {

constexpr SplitRange<double> kWhole{0.0, 1.0};

class Builder {
 public:
  Builder(const DataConfig& config, const Vocabulary& vocabulary) {
    options_.seq_length = config.seq_length;
    options_.seed = narrow<uint32_t>(config.seed);
    options_.vocab_size = vocabulary.size;
    if (config.data_cache_path) options_.cache_path = *config.data_cache_path;
  }

  std::shared_ptr<const SampleDataset> build(const Blend& blend, SplitName split, SplitRange<double> share,
                                             std::optional<int64_t> num_samples) {
    if (blend.prefixes.size() == 1 && !blend.weights) {
      return one(blend.prefixes[0], split, share, num_samples);
    }
    return blend.weights ? weighted(blend, split, share, num_samples)
                         : by_size(blend, split, share, num_samples);
  }

  std::shared_ptr<const SampleDataset> mock(const Vocabulary& vocabulary, SplitName split,
                                            SplitRange<double> share, std::optional<int64_t> num_samples) {
    MG_CHECK(vocabulary.size.has_value(),
             "mock data needs a tokenizer: the size of the vocabulary is not known");
    if (!mock_) mock_ = std::make_shared<MockTokens>(*vocabulary.size, vocabulary.eod);
    GptDatasetOptions options = options_;
    options.use_cache = false;  // it has no place of its own, and is quickly made
    return std::make_shared<GptDataset>(mock_, split, share, num_samples, options);
  }

 private:
  using Parts = std::vector<std::shared_ptr<const SampleDataset>>;

  std::shared_ptr<const SampleDataset> one(const std::string& prefix, SplitName split,
                                           SplitRange<double> share, std::optional<int64_t> num_samples) {
    auto& source = sources_[prefix];
    if (!source) source = std::make_shared<IndexedDataset>(prefix);
    return std::make_shared<GptDataset>(source, split, share, num_samples, options_);
  }

  std::shared_ptr<const SampleDataset> weighted(const Blend& blend, SplitName split, SplitRange<double> share,
                                                std::optional<int64_t> num_samples) {
    if (!num_samples) {
      throw UsageError(
          fmt::format("data_path: a blend with weights needs a number of {} samples; leave the "
                      "weights out to use every sample once",
                      split_name(split)));
    }
    const std::vector<double> weights = normalized(*blend.weights);
    const BlendSizes sizes = blend_sizes(weights, *num_samples);
    Parts parts;
    for (size_t i = 0; i < blend.prefixes.size(); ++i) {
      parts.push_back(one(blend.prefixes[i], split, share, sizes.requested[i]));
    }
    // The reference normalises twice, which may move the last bit.
    return std::make_shared<BlendedDataset>(std::move(parts), weighted_blend(normalized(weights), sizes.size),
                                            blend.prefixes);
  }

  std::shared_ptr<const SampleDataset> by_size(const Blend& blend, SplitName split, SplitRange<double> share,
                                               std::optional<int64_t> num_samples) {
    Parts parts;
    std::vector<int64_t> sizes;
    int64_t total = 0;
    for (const std::string& prefix : blend.prefixes) {
      parts.push_back(one(prefix, split, share, std::nullopt));
      sizes.push_back(parts.back()->size());
      total += sizes.back();
    }
    if (!num_samples)
      return std::make_shared<BlendedDataset>(std::move(parts), exhaustive_blend(sizes), blend.prefixes);
    const std::vector<double> weights = normalized(std::vector<double>(sizes.begin(), sizes.end()));
    return std::make_shared<BlendedDataset>(
        std::move(parts), weighted_blend(weights, std::min(*num_samples, total)), blend.prefixes);
  }

  GptDatasetOptions options_;
  std::map<std::string, std::shared_ptr<const IndexedDataset>> sources_;
  std::shared_ptr<const MockTokens> mock_;
};

}  // namespace

Datasets build_datasets(const DataConfig& config, const SplitSizes& sizes, const Vocabulary& vocabulary) {
  validate(config);
  const std::array<const std::vector<std::string>*, kNumSplits> own_paths{
      &config.train_data_path, &config.valid_data_path, &config.test_data_path};
  const bool has_own_paths = !own_paths[0]->empty() || !own_paths[1]->empty() || !own_paths[2]->empty();
  if (!config.mock_data && !has_own_paths && config.data_path.empty()) {
    throw UsageError("no data: give data_path (prefixes of .bin/.idx files) or mock_data: true");
  }
  // Mock data is split evenly, as Megatron does.
  const auto shares = parse_split(config.mock_data ? "1,1,1" : config.split);

  Builder builder(config, vocabulary);
  Datasets datasets;
  for (size_t i = 0; i < kNumSplits; ++i) {
    const auto split = static_cast<SplitName>(i);
    if (sizes[i] == 0) continue;
    if (has_own_paths) {
      if (own_paths[i]->empty()) {
        throw UsageError(fmt::format("no data for the {0} split: give {0}_data_path", split_name(split)));
      }
      Blend blend = parse_blend(*own_paths[i]);
      if (blend.prefixes.size() == 1)
        blend.weights.reset();  // here, though not in data_path, it means nothing
      datasets[i] = builder.build(blend, split, kWhole, sizes[i]);
      continue;
    }
    if (!shares[i]) {
      if (!sizes[i]) continue;
      throw UsageError(
          fmt::format("split \"{}\" leaves nothing for the {} split, of which {} samples are needed",
                      config.split, split_name(split), *sizes[i]));
    }
    datasets[i] = config.mock_data
                      ? builder.mock(vocabulary, split, *shares[i], sizes[i])
                      : builder.build(parse_blend(config.data_path), split, *shares[i], sizes[i]);
  }
  return datasets;
}

}  // namespace megalith
