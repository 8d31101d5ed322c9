#pragma once
// defines: AttentionSinkProblem, AttentionSinkGradient, AttentionSinkWork, attention_sink,
// attention_sink_backward

#include "megalith/kernels/cpu/attention.h"
#include "megalith/kernels/cpu/work_split.h"

namespace megalith::cpu {

/// See ops/attention_sink.h. A row is one query of one sequence.
struct AttentionSinkProblem {
  DType dtype;
  int64_t batch, seq, heads, dim;
  const void* sink;  // [heads], or null
  HeadRows out;
  void* lse;  // [batch, heads, seq] of accumulate_t
};
struct AttentionSinkGradient {
  HeadRows d_out;
  DType sink_dtype;  // of d_sink: accumulate_t, or bf16 for bf16
  void* d_sink;      // [heads]
  bool accumulate;
};
void attention_sink(const AttentionSinkProblem& problem, Exec& exec);
void attention_sink_backward(const AttentionSinkProblem& problem, const AttentionSinkGradient& gradient,
                             Exec& exec);

struct AttentionSinkWork {
  int num_threads;
  RowChunks chunks = {};
  void* partials = nullptr;  // [chunks.count, heads] of accumulate_t
};
MG_DECLARE_PER_ISA(void attention_sink(const AttentionSinkProblem& problem, const AttentionSinkWork& work))
MG_DECLARE_PER_ISA(void attention_sink_backward(const AttentionSinkProblem& problem,
                                                const AttentionSinkGradient& gradient,
                                                const AttentionSinkWork& work))

}  // namespace megalith::cpu
