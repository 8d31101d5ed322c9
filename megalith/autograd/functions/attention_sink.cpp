#include "megalith/autograd/functions/attention_sink.h"

#include "megalith/ops/elementwise.h"

namespace megalith {

AttentionSinkArgs AttentionSink::args(const Tensor& out, const Tensor& lse) const {
  const int64_t end = first_head + out.dim(2);
  return {
      .sink = scores != nullptr ? scores->data.slice(0, first_head, end) : Tensor(), .out = out, .lse = lse};
}

void AttentionSink::join(const Tensor& out, const Tensor& lse, Exec& exec) const {
  if (exists()) attention_sink(args(out, lse), exec);
}

void AttentionSink::differentiate(const Tensor& d_out, const Tensor& out, const Tensor& lse,
                                  Exec& exec) const {
  if (scores == nullptr) return;
  const Tensor& gradient = scores->main_grad;
  bool accumulate = scores->begin_grad_write() != 0;
  if (!accumulate && out.dim(2) < gradient.numel()) {  // the other heads get none here
    fill(gradient, 0, exec);
    accumulate = true;
  }
  attention_sink_backward({.forward = args(out, lse),
                           .d_out = d_out,
                           .d_sink = gradient.slice(0, first_head, first_head + out.dim(2)),
                           .accumulate = accumulate},
                          exec);
}

}  // namespace megalith
