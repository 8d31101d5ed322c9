#pragma once
// defines: AttentionSink

#include "megalith/autograd/parameter.h"
#include "megalith/ops/attention_sink.h"

namespace megalith {

/// The sink of an attention's heads (ops/attention_sink.h), or none.
struct AttentionSink {
  SoftmaxType type = SoftmaxType::kVanilla;
  Parameter* scores = nullptr;  ///< of kLearnable: [heads of this rank]
  int64_t first_head = 0;       ///< of `scores`: the attention's heads are this one and those behind it

  bool exists() const { return type != SoftmaxType::kVanilla; }
  /// Into the attention [B, S, N, D] to all keys; nothing where there is no sink.
  void join(const Tensor& out, const Tensor& lse, Exec& exec) const;
  /// Adds to the gradient of the scores, from what join() left; nothing where none are learned.
  void differentiate(const Tensor& d_out, const Tensor& out, const Tensor& lse, Exec& exec) const;

 private:
  AttentionSinkArgs args(const Tensor& out, const Tensor& lse) const;
};

}  // namespace megalith
