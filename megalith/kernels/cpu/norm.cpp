#include "megalith/kernels/cpu/norm.h"

#include "megalith/core/exec.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

void norm(NormArgs args, Exec& exec) {
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), norm)(args);
}

void norm_backward(NormBackwardArgs args, Exec& exec) {
  ScratchFrame frame(exec.scratch());
  const RowChunks chunks = split_rows(args.rows);
  const int64_t partial_bytes = chunks.count * args.cols * (args.dtype == DType::kF64 ? 8 : 4);
  if (args.d_weight != nullptr) {
    args.weight_partials = frame.take<std::byte>(partial_bytes, "norm_backward d_weight partials");
  }
  if (args.d_bias != nullptr) {
    args.bias_partials = frame.take<std::byte>(partial_bytes, "norm_backward d_bias partials");
  }
  args.num_chunks = chunks.count;
  args.chunk_rows = chunks.rows;
  args.num_threads = threads_for(args.rows * args.cols, exec.num_threads());
  MG_ISA_FUNCTION(exec.isa(), norm_backward)(args);
}

}  // namespace megalith::cpu
