#include "megalith/kernels/cpu/sum_rows.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void sum_rows(SumRowsArgs args, Exec& exec) {
  ScratchFrame frame(exec.scratch());
  const RowChunks chunks = split_rows(args.rows);
  const int64_t bytes = args.dtype == DType::kF64 ? 8 : 4;
  args.partials = frame.take<std::byte>(chunks.count * args.cols * bytes, "sum_rows partials");
  args.num_chunks = chunks.count;
  args.chunk_rows = chunks.rows;
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), sum_rows)(args);
}

}  // namespace megalith::cpu
