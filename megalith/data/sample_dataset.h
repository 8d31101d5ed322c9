#pragma once
// defines: SampleDataset, kNoToken

#include <cstdint>
#include <span>

namespace megalith {

/// Stands in a sample where the data ended.
inline constexpr int32_t kNoToken = -1;

/// Samples of equal length with random access, in the order of training. Immutable: any number of threads may
/// read one object.
class SampleDataset {
 public:
  virtual ~SampleDataset() = default;

  virtual int64_t size() const = 0;
  /// S
  virtual int64_t seq_length() const = 0;
  /// Samples hold one token more than S, so that the label of the last token is known.
  virtual bool has_extra_token() const = 0;
  /// Fills `text` [text_length()]; what is beyond the data is kNoToken. Throws Error for a token id that the
  /// vocabulary does not have.
  virtual void read(int64_t sample, std::span<int32_t> text) const = 0;

  int64_t text_length() const { return seq_length() + (has_extra_token() ? 1 : 0); }
};

}  // namespace megalith
