#include "megalith/kernels/cpu/attention_sink.h"

#include "megalith/core/exec.h"

namespace megalith::cpu {

void attention_sink(const AttentionSinkProblem& problem, Exec& exec) {
  const int64_t elements = problem.batch * problem.seq * problem.heads * problem.dim;
  MG_ISA_FUNCTION(exec.isa(), attention_sink)
  (problem, {.num_threads = threads_for(elements, exec.num_threads())});
}

void attention_sink_backward(const AttentionSinkProblem& problem, const AttentionSinkGradient& gradient,
                             Exec& exec) {
  const int64_t rows = problem.batch * problem.seq;
  const RowChunks chunks = split_rows(rows);
  const int64_t bytes = problem.dtype == DType::kF64 ? 8 : 4;
  ScratchFrame frame(exec.scratch());
  const AttentionSinkWork work{
      .num_threads = threads_for(rows * problem.heads * problem.dim, exec.num_threads()),
      .chunks = chunks,
      .partials = frame.take<std::byte>(chunks.count * problem.heads * bytes, "attention_sink partials")};
  MG_ISA_FUNCTION(exec.isa(), attention_sink_backward)(problem, gradient, work);
}

}  // namespace megalith::cpu
