#pragma once
// defines: cuda::DecodeSplit, cuda::split_decode, cuda::launch_attention_decode, cuda::launch_decode_half

#include <cuda_runtime_api.h>

#include "megalith/kernels/cuda/attention_view.h"

namespace megalith::cuda {

/// The keys of a split are a multiple of these.
constexpr int kKeysOfSplit = 64;

/// How the keys of one decode call are shared out: `splits` blocks for each (batch, kv head), each over
/// `keys_per_split` keys.
struct DecodeSplit {
  int splits = 1;
  int keys_per_split = 0;
  /// Floats of working memory for the partial results.
  int64_t floats(const AttentionView& a) const {
    return static_cast<int64_t>(splits) * a.batch * a.heads * a.queries * (a.head_dim + 2);
  }
};
DecodeSplit split_decode(const AttentionView& view, int sm_count);

/// Few queries over a key/value cache: keys and values are read once, 16 bytes a thread, for all query heads
/// that share them, by enough blocks to keep the whole device reading; a second kernel joins their results in
/// a fixed order. Takes no dropout; rows must be aligned (AttentionView::is_aligned).
cudaError_t launch_attention_decode(const AttentionView& view, const DecodeSplit& split, float* partials,
                                    ElementKind kind, cudaStream_t stream);

/// The first of the two kernels for bf16 and f16, on the tensor cores: one query row uses as much of them as
/// 16 do, and reading stays the limit.
cudaError_t launch_decode_half(const AttentionView& view, const DecodeSplit& split, float* partials,
                               ElementKind kind, cudaStream_t stream);

}  // namespace megalith::cuda
