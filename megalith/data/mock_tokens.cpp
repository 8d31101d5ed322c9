#include "megalith/data/mock_tokens.h"

#include "megalith/base/error.h"
#include "megalith/data/numpy_random.h"

namespace megalith {

MockTokens::MockTokens(int64_t vocab_size, int32_t eod) : vocab_size_(vocab_size), eod_(eod) {
  constexpr int64_t kSequences = 100000;
  constexpr int32_t kLongest = 4096;
  MG_CHECK(vocab_size > 0 && eod >= 0 && eod < vocab_size,
           "mock data: the end-of-document id {} must be one of the {} ids of the vocabulary", eod,
           vocab_size);
  lengths_ = NumpyGenerator(0).integers(1, kLongest, kSequences);
}

void MockTokens::read(int64_t sequence, int64_t offset, std::span<int32_t> out) const {
  const int64_t last = length(sequence) - 1;
  MG_ASSERT(offset >= 0 && offset + static_cast<int64_t>(out.size()) <= last + 1);
  for (size_t i = 0; i < out.size(); ++i) {
    const int64_t at = offset + static_cast<int64_t>(i);
    out[i] = at == last ? eod_ : static_cast<int32_t>((at + 1) % vocab_size_);
  }
}

}  // namespace megalith
