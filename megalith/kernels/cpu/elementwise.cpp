#include "megalith/kernels/cpu/elementwise.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void add(AddArgs args, Exec& exec) {
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), add)(args);
}

void sum_terms(SumTermsArgs args, Exec& exec) {
  args.num_threads = threads_for(args.num_terms * args.count, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), sum_terms)(args);
}

void scale(ScaleArgs args, Exec& exec) {
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), scale)(args);
}

}  // namespace megalith::cpu
