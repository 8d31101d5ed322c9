#include "megalith/kernels/cpu/cross_entropy.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void cross_entropy(CrossEntropyRows rows, Exec& exec) {
  rows.num_threads = threads_for(rows.rows * rows.columns, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), cross_entropy)(rows);
}

}  // namespace megalith::cpu
