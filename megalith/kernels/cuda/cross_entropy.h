#pragma once
// defines: cross_entropy, cross_entropy_statistics, weighted_sum, kMaxHeldRowBytes

#include "megalith/kernels/cpu/cross_entropy.h"

namespace megalith::cuda {

// As the functions of the same names in cpu, on the stream of `exec`. The labels lie on the GPU and are not
// checked on the host: the loss of a label that is not in the vocabulary is NaN.

/// Rows up to this size stay in shared memory between the passes: three of them fit a multiprocessor of
/// Hopper, and one a block of any GPU.
inline constexpr int64_t kMaxHeldRowBytes = 72 * 1024;

/// One block for each row, which reads its row once for the online softmax and once more, from shared memory
/// or the second-level cache, for the gradient; with statistics it reads the row once.
void cross_entropy(const cpu::CrossEntropyRows& rows, Exec& exec);
void cross_entropy_statistics(const cpu::CrossEntropyStatistics& rows, Exec& exec);

/// One block, whose threads sum every 1024th product.
void weighted_sum(const cpu::WeightedSum& args, Exec& exec);

}  // namespace megalith::cuda
