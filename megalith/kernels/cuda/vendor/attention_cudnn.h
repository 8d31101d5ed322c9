#pragma once
// defines: cuda::SumOrder, cuda::CudnnAttention, cuda::attention_cudnn, cuda::attention_cudnn_backward,
// cuda::cudnn_version

#include "megalith/core/dtype.h"
#include "megalith/kernels/cuda/attention_view.h"

namespace megalith {
class Exec;
}

namespace megalith::cuda {

/// kRepeatable: the same bits in every run; costs a buffer of the gradients of the scores (attention_choice.h
/// says how large) and its traffic. kAny: d_q is summed by atomic additions.
enum class SumOrder : uint8_t { kRepeatable, kAny };

/// Attention of bf16 or f16 by cuDNN's graph interface, on the tensor cores. Takes no first_key but that of
/// `documents` (then rows stand behind each other in every tensor), no end_key, no key_gap under a mask and
/// no dropout. One plan is built for each combination of shapes, strides and options, at its first use (tens
/// of milliseconds), and kept with the Exec; working memory comes from its scratch. Throws Error with cuDNN's
/// own words where the installed version does not take the problem.
struct CudnnAttention {
  DType dtype = DType::kBF16;
  AttentionView view;
  /// Of v and out; 0: head_dim.
  int value_dim = 0;
};
void attention_cudnn(const CudnnAttention& problem, Exec& exec);
void attention_cudnn_backward(const CudnnAttention& problem, const AttentionGradientView& gradients,
                              SumOrder order, Exec& exec);

/// Of the library that was loaded: 91400 for 9.14.0.
int64_t cudnn_version();

}  // namespace megalith::cuda
