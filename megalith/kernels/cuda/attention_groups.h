#pragma once
// defines: GroupedHeads, launch_repeat_heads, launch_sum_groups

#include <cstdint>

#include <cuda_runtime_api.h>

#include "megalith/kernels/cuda/attention_view.h"

namespace megalith::cuda {

/// Keys or values of grouped queries, [B, S, K, D], beside the same for every query head, [B, S, N, D]. Rows
/// are whole 16-byte words in both; elements are bf16 or f16.
struct GroupedHeads {
  int64_t batch = 0, seq = 0, heads = 0, kv_heads = 0, head_dim = 0;
  HeadView grouped, single;
};
/// single = grouped, each head N / K times.
cudaError_t launch_repeat_heads(const GroupedHeads& heads, ElementKind kind, cudaStream_t stream);
/// grouped = the sum of the N / K heads of each group, in f32 and in order, rounded once.
cudaError_t launch_sum_groups(const GroupedHeads& heads, ElementKind kind, cudaStream_t stream);

}  // namespace megalith::cuda
