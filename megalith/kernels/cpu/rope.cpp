#include "megalith/kernels/cpu/rope.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void rope(RopeArgs args, Exec& exec) {
  args.num_threads = threads_for(args.tokens * args.heads * args.pairs * 2, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), rope)(args);
}

}  // namespace megalith::cpu
