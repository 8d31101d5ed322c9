#include "megalith/kernels/cpu/dropout.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void dropout(DropoutArgs args, Exec& exec) {
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), dropout)(args);
}

}  // namespace megalith::cpu
