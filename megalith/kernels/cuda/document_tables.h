#pragma once
// defines: DocumentTables, launch_document_tables, LseLayout, launch_turn_lse

#include <cstdint>

#include <cuda_runtime_api.h>

namespace megalith::cuda {

/// What cuDNN reads about packed documents: the length of each, and for each tensor where its documents
/// begin.
struct DocumentTables {
  static constexpr int kMaxTensors = 9;
  const int32_t* starts = nullptr;  // [count + 1], tokens
  int count = 0;
  int num_tensors = 0;
  int64_t token_strides[kMaxTensors] = {};  // elements
  int32_t* lengths = nullptr;               // [count], out
  int32_t* offsets = nullptr;               // [num_tensors, offsets_stride], elements, out: count + 1 of each
  int offsets_stride = 0;
};
cudaError_t launch_document_tables(const DocumentTables& tables, cudaStream_t stream);

/// cuDNN keeps the lse of packed documents as [B S, N], ops/attention.h as [B, N, S].
struct LseLayout {
  int64_t batch = 0, heads = 0, seq = 0;
};
enum class TurnLse { kFromTokens, kToTokens };
cudaError_t launch_turn_lse(TurnLse direction, const LseLayout& layout, const float* from, float* to,
                            cudaStream_t stream);

}  // namespace megalith::cuda
