#pragma once
// defines: attention_sink, attention_sink_backward

#include "megalith/kernels/cpu/attention_sink.h"

namespace megalith::cuda {

/// As cpu::attention_sink and cpu::attention_sink_backward, on the stream of `exec`.
void attention_sink(const cpu::AttentionSinkProblem& problem, Exec& exec);
void attention_sink_backward(const cpu::AttentionSinkProblem& problem,
                             const cpu::AttentionSinkGradient& gradient, Exec& exec);

}  // namespace megalith::cuda
