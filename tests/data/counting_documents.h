#pragma once
// defines: write_counting_documents

#include <string>
#include <vector>

#include "megalith/core/rng.h"
#include "megalith/data/indexed_dataset_builder.h"

namespace megalith {

/// 400 counting sequences of 1 to 60 tokens below `eod`, most of them short, each ended by `eod`.
inline void write_counting_documents(const std::string& prefix, int32_t eod) {
  IndexedDatasetBuilder builder(prefix, TokenType::kU16);
  for (uint64_t document = 0; document < 400; ++document) {
    const uint32_t word = RngKey{3, 1}.bits(document);
    const auto length = static_cast<int32_t>(1 + word % 8 * (word >> 8) % 60);
    std::vector<int32_t> tokens;
    for (int32_t i = 0; i + 1 < length; ++i) tokens.push_back((static_cast<int32_t>(document) + 3 * i) % eod);
    tokens.push_back(eod);
    builder.add_document(tokens);
  }
  builder.finish();
}

}  // namespace megalith
