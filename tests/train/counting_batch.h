#pragma once
// defines: fill_counting_batch

#include "megalith/train/train_step.h"

namespace megalith::testing {

/// A microbatch of rows that count by seven, below 96.
inline void fill_counting_batch(const RunConfig& config, HostBatch& batch) {
  resize_batch(batch, config.train.micro_batch_size, config.data.seq_length);
  for (int64_t row = 0; row < config.train.micro_batch_size; ++row) {
    std::vector<int32_t> text;
    for (int64_t i = 0; i <= config.data.seq_length; ++i)
      text.push_back(static_cast<int32_t>((7 * i + 3 * row) % 96));
    fill_row(batch, row, text, {});
  }
  finish_batch(batch);
}

}  // namespace megalith::testing
