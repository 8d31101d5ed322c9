#include "megalith/data/blended_dataset.h"

#include <utility>

#include "megalith/base/error.h"

namespace megalith {

BlendedDataset::BlendedDataset(std::vector<std::shared_ptr<const SampleDataset>> datasets,
                               BlendIndices indices, const std::vector<std::string>& names)
    : datasets_(std::move(datasets)), indices_(std::move(indices)) {
  std::vector<int64_t> wanted(datasets_.size());
  for (int64_t n = 0; n < size(); ++n) ++wanted[static_cast<size_t>(indices_.dataset_index[n])];
  for (size_t i = 0; i < datasets_.size(); ++i) {
    MG_CHECK(wanted[i] <= datasets_[i]->size(),
             "{}: the blend asks for {} samples, the data set was built with {}", names[i], wanted[i],
             datasets_[i]->size());
  }
}

void BlendedDataset::read(int64_t sample, std::span<int32_t> text) const {
  MG_CHECK(sample >= 0 && sample < size(), "the blend has no sample {} ({} samples)", sample, size());
  const auto dataset = static_cast<size_t>(indices_.dataset_index[sample]);
  datasets_[dataset]->read(indices_.sample_index[sample], text);
}

}  // namespace megalith
