#pragma once
// defines: MemoryShortage, largest_micro_batch, batch_advice

#include <string>

#include "megalith/train/train_config.h"

namespace megalith {

/// A run that did not fit: what the device has, and how much of it the run wanted at least.
struct MemoryShortage {
  int64_t limit_bytes = 0;
  int64_t wanted_bytes = 0;
};

/// The largest micro_batch_size below the recipe's that divides its batch and fits, by the estimate of `plan`
/// (rank_memory.h); 0 where none does. Where the run wanted more than the estimate says, its activations
/// count as much more in all sizes.
int64_t largest_micro_batch(const RunConfig& config, int world, const MemoryShortage& shortage);

/// The same as a line for an error.
std::string batch_advice(const RunConfig& config, int world, const MemoryShortage& shortage);

}  // namespace megalith
