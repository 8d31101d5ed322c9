#pragma once
// defines: BlendedDataset

#include <memory>
#include <string>
#include <vector>

#include "megalith/data/blend.h"
#include "megalith/data/sample_dataset.h"

namespace megalith {

/// Samples of several data sets in the order of a blend.
class BlendedDataset final : public SampleDataset {
 public:
  /// Throws Error, naming the data set, when the blend asks one for more samples than it has.
  BlendedDataset(std::vector<std::shared_ptr<const SampleDataset>> datasets, BlendIndices indices,
                 const std::vector<std::string>& names);

  int64_t size() const override { return indices_.dataset_index.num_elements(); }
  int64_t seq_length() const override { return datasets_.front()->seq_length(); }
  bool has_extra_token() const override { return datasets_.front()->has_extra_token(); }
  void read(int64_t sample, std::span<int32_t> text) const override;

  const BlendIndices& indices() const { return indices_; }

 private:
  std::vector<std::shared_ptr<const SampleDataset>> datasets_;
  BlendIndices indices_;
};

}  // namespace megalith
