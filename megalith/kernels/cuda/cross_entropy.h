#pragma once
// defines: cross_entropy

#include "megalith/kernels/cpu/cross_entropy.h"

namespace megalith::cuda {

/// As cpu::cross_entropy, on the stream of `exec`: one block for each row, which reads its row once for the
/// online softmax and once more, from the second-level cache, for the gradient. The labels lie on the GPU and
/// are not checked on the host: the loss of a label that is not below `columns` is NaN.
void cross_entropy(const cpu::CrossEntropyRows& rows, Exec& exec);

}  // namespace megalith::cuda
