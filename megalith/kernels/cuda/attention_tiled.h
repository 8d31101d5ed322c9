#pragma once
// defines: cuda::launch_attention_tiled, cuda::launch_attention_tiled_backward,
// cuda::kTiledForwardSharedBytes, cuda::kTiledBackwardSharedBytes

#include <cuda_runtime_api.h>

#include "megalith/kernels/cuda/attention_view.h"

namespace megalith::cuda {

/// What the largest tiles of each take, heads of 65 to 128.
extern const int64_t kTiledForwardSharedBytes;
extern const int64_t kTiledBackwardSharedBytes;

/// Attention on the ordinary arithmetic units, in f32 throughout: every mask, dropout, any head_dim up to
/// 256, any stride (FlashAttention-2, algorithm 1). cudaErrorInvalidValue when a tile does not fit the
/// device's shared memory.
cudaError_t launch_attention_tiled(const AttentionView& view, ElementKind kind, cudaStream_t stream);

/// Algorithm 2 in three kernels: delta, then d_k and d_v by key tiles, then d_q by query tiles. Every sum has
/// one owner and one order, so bits repeat.
cudaError_t launch_attention_tiled_backward(const AttentionView& view, const AttentionGradientView& gradients,
                                            ElementKind kind, cudaStream_t stream);

}  // namespace megalith::cuda
