#include "megalith/kernels/cpu/activation.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void activation(ActivationArgs args, Exec& exec) {
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), activation)(args);
}

void activation_backward(ActivationBackwardArgs args, Exec& exec) {
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), activation_backward)(args);
}

}  // namespace megalith::cpu
