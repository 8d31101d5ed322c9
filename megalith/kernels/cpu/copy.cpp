#include "megalith/kernels/cpu/copy.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void fold_dims(CopyArgs& args) {
  int rank = 0;
  for (int i = 0; i < args.rank; ++i) {
    if (args.dims[i] == 1) continue;
    const bool joins = rank > 0 && args.from_strides[rank - 1] == args.from_strides[i] * args.dims[i] &&
                       args.to_strides[rank - 1] == args.to_strides[i] * args.dims[i];
    if (joins) {
      args.dims[rank - 1] *= args.dims[i];
    } else {
      args.dims[rank++] = args.dims[i];
    }
    args.from_strides[rank - 1] = args.from_strides[i];
    args.to_strides[rank - 1] = args.to_strides[i];
  }
  if (rank == 0) {
    args.dims[0] = args.from_strides[0] = args.to_strides[0] = 1;
    rank = 1;
  }
  args.rank = rank;
}

void copy(CopyArgs args, Exec& exec) {
  int64_t elements = 1;
  for (int i = 0; i < args.rank; ++i) elements *= args.dims[i];
  if (elements == 0) return;
  fold_dims(args);
  args.num_threads = threads_for(elements, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), copy)(args);
}

void fill(CopyArgs args, Exec& exec) {
  for (int i = 0; i < args.rank; ++i) args.from_strides[i] = 0;
  copy(args, exec);
}

}  // namespace megalith::cpu
