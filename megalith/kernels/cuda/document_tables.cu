#include "megalith/kernels/cuda/document_tables.h"

namespace megalith::cuda {
namespace {

constexpr int kThreads = 256;

__global__ void document_tables_kernel(DocumentTables t) {
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (i > t.count) return;
  const int32_t start = t.starts[i];
  if (i < t.count) t.lengths[i] = t.starts[i + 1] - start;
  for (int tensor = 0; tensor < t.num_tensors; ++tensor)
    t.offsets[tensor * t.offsets_stride + i] = static_cast<int32_t>(start * t.token_strides[tensor]);
}

// A thread for each element of [B, N, S].
__global__ void turn_lse_kernel(TurnLse direction, LseLayout a, const float* from, float* to) {
  const int64_t place = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (place >= a.batch * a.heads * a.seq) return;
  const int64_t s = place % a.seq, head = place / a.seq % a.heads, b = place / a.seq / a.heads;
  const int64_t by_token = (b * a.seq + s) * a.heads + head;
  if (direction == TurnLse::kFromTokens)
    to[place] = from[by_token];
  else
    to[by_token] = from[place];
}

unsigned blocks_of(int64_t count) {
  return static_cast<unsigned>((count + kThreads - 1) / kThreads);
}

}  // namespace

cudaError_t launch_document_tables(const DocumentTables& tables, cudaStream_t stream) {
  document_tables_kernel<<<blocks_of(tables.count + 1), kThreads, 0, stream>>>(tables);
  return cudaGetLastError();
}

cudaError_t launch_turn_lse(TurnLse direction, const LseLayout& layout, const float* from, float* to,
                            cudaStream_t stream) {
  const int64_t count = layout.batch * layout.heads * layout.seq;
  turn_lse_kernel<<<blocks_of(count), kThreads, 0, stream>>>(direction, layout, from, to);
  return cudaGetLastError();
}

}  // namespace megalith::cuda
