#pragma once
// defines: MockTokens

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "megalith/data/token_source.h"

namespace megalith {

/// Megatron Core's mock data, token for token: 100000 sequences whose lengths are drawn from [1, 4096) by
/// numpy's default_rng(0); a sequence counts 1, 2, 3, ... modulo the vocabulary and ends with `eod`.
class MockTokens final : public TokenSource {
 public:
  MockTokens(int64_t vocab_size, int32_t eod);

  int64_t num_sequences() const override { return static_cast<int64_t>(lengths_.size()); }
  int32_t length(int64_t sequence) const override { return lengths_[static_cast<size_t>(sequence)]; }
  void read(int64_t sequence, int64_t offset, std::span<int32_t> out) const override;
  int64_t document_of(int64_t sequence) const override { return sequence; }
  const std::string& name() const override { return name_; }

 private:
  std::string name_ = "mock data";
  int64_t vocab_size_;
  int32_t eod_;
  std::vector<int32_t> lengths_;
};

}  // namespace megalith
