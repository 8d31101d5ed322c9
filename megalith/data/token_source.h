#pragma once
// defines: TokenSource

#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace megalith {

/// Sequences of token ids with random access. Immutable: any number of threads may read one object.
class TokenSource {
 public:
  virtual ~TokenSource() = default;

  virtual int64_t num_sequences() const = 0;
  /// Tokens of sequence `sequence`.
  virtual int32_t length(int64_t sequence) const = 0;
  /// Copies out.size() tokens of a sequence, starting `offset` tokens into it; the range must exist.
  virtual void read(int64_t sequence, int64_t offset, std::span<int32_t> out) const = 0;
  /// The document that the sequence belongs to.
  virtual int64_t document_of(int64_t sequence) const = 0;
  /// What messages and cache keys call this source: the path prefix.
  virtual const std::string& name() const = 0;

  std::vector<int32_t> lengths() const {
    std::vector<int32_t> all(static_cast<size_t>(num_sequences()));
    for (size_t i = 0; i < all.size(); ++i) all[i] = length(static_cast<int64_t>(i));
    return all;
  }
};

}  // namespace megalith
