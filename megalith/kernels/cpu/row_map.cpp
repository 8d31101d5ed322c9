#include "megalith/kernels/cpu/row_map.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void combine_rows(CombineRowsArgs args, Exec& exec) {
  args.num_threads = threads_for(args.rows * args.cols * args.terms, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), combine_rows)(args);
}

void row_dots(RowDotsArgs args, Exec& exec) {
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), row_dots)(args);
}

}  // namespace megalith::cpu
