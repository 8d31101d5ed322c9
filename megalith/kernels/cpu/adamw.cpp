#include "megalith/kernels/cpu/adamw.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void adamw(AdamwArgs args, Exec& exec) {
  args.num_threads = threads_for(args.count, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), adamw)(args);
}

double sum_of_squares(DType dtype, const void* x, int64_t count, Exec& exec) {
  ScratchFrame frame(exec.scratch());
  const int64_t chunks = ceil_div(count, kSumChunk);
  double* chunk_sums = frame.take<double>(chunks, "sum_of_squares chunks");
  MG_ISA_FUNCTION(exec.isa(), sum_of_squares)
  ({.dtype = dtype,
    .x = x,
    .count = count,
    .chunk_sums = chunk_sums,
    .num_threads = threads_for(count, exec.num_threads())});
  double sum = 0;
  for (int64_t i = 0; i < chunks; ++i) sum += chunk_sums[i];
  return sum;
}

}  // namespace megalith::cpu
