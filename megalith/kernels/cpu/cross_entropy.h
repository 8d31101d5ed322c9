#pragma once
// defines: CrossEntropyRows, cross_entropy

#include "megalith/core/dtype.h"
#include "megalith/kernels/cpu/isa_dispatch.h"

namespace megalith {
class Exec;
}

namespace megalith::cpu {

/// Labels have been checked to be below `columns`; negative ones are ignored.
struct CrossEntropyRows {
  DType dtype;
  int64_t rows, columns;
  const void* logits;
  int64_t logits_stride;
  const int32_t* labels;
  void* loss;      // accumulate_t of the dtype
  void* d_logits;  // or null; may be `logits`
  int64_t d_logits_stride;
  int num_threads = 1;  // set by cross_entropy()
};
void cross_entropy(CrossEntropyRows rows, Exec& exec);

MG_DECLARE_PER_ISA(void cross_entropy(const CrossEntropyRows& rows))

}  // namespace megalith::cpu
