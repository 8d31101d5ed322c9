#pragma once
// defines: cuda::AttentionDesc, cuda::AttentionKernel, cuda::AttentionChoice, cuda::max_backward_batch,
// cuda::BackwardPart, cuda::backward_part, cuda::choose_attention_kernel
// Pure host code without CUDA: also part of a CPU build.

#include <algorithm>
#include <limits>
#include <string>

#include "megalith/base/error.h"
#include "megalith/base/math.h"
#include "megalith/core/dtype.h"

namespace megalith::cuda {

/// What the choice of an attention kernel depends on.
struct AttentionDesc {
  DType dtype = DType::kBF16;
  int64_t batch = 0, queries = 0, keys = 0, heads = 0, kv_heads = 0, head_dim = 0;
  bool is_causal = true;
  bool has_window = false;
  bool has_key_gap = false;     ///< the queries are not at the end of the keys
  bool has_key_limits = false;  ///< each query has its own first or last key
  bool has_documents = false;   ///< and these limits are packed documents that cuDNN can be told about
  bool has_num_keys = false;
  bool has_dropout = false;
  bool is_backward = false;
  bool is_deterministic = false;  ///< gradients have the same bits in every run
  /// Every row of every tensor starts at a multiple of 16 bytes and fills whole 16-byte words.
  bool is_aligned = false;

  std::string str() const {
    return fmt::format("{} {} B {} S {} of {} N {} of {} D {}{}{}{}{}{}{}{}",
                       is_backward ? "backward" : "forward", name_of(dtype), batch, queries, keys, heads,
                       kv_heads, head_dim, is_causal ? " causal" : "", has_window ? " window" : "",
                       has_key_gap ? " gap" : "",
                       has_documents    ? " documents"
                       : has_key_limits ? " limits"
                                        : "",
                       has_dropout ? " dropout" : "", is_deterministic ? " deterministic" : "",
                       is_aligned ? "" : " unaligned");
  }
};

enum class AttentionKernel : uint8_t { kCudnn, kDecode, kTiled };

struct AttentionChoice {
  AttentionKernel kernel;
  const char* reason;

  std::string str() const {
    constexpr const char* kNames[] = {"cudnn", "decode", "tiled"};
    return fmt::format("{}: {}", kNames[static_cast<int>(kernel)], reason);
  }
};

constexpr int64_t kMaxDecodeQueries = 8;
constexpr int64_t kMaxAttentionHeadDim = 256;
constexpr int64_t kDocumentHeadDimMultiple = 16;
/// Above it, cuDNN 9.14 takes packed documents and gives wrong gradients, of grouped and of equal heads (192
/// and 256 on an H100; with keys and values repeated for every query head too). Values of 128 with keys of
/// 192 are right.
constexpr int64_t kMaxDocumentBackwardHeadDim = 128;

/// Behind that many elements of q, cuDNN 9.14's gradients of q and k are wrong (those of v, and the forward,
/// are right).
constexpr int64_t kMaxBackwardElements = std::numeric_limits<int32_t>::max();

/// How many sequences cuDNN's backward takes in one call; 0: not even one.
inline int64_t max_backward_batch(const AttentionDesc& desc) {
  return kMaxBackwardElements / std::max<int64_t>(1, desc.queries * desc.heads * desc.head_dim);
}

/// What one call of cuDNN's backward takes: so many sequences, and of each so many key heads with the query
/// heads that read them.
struct BackwardPart {
  int64_t batch, kv_heads;
};

/// Deterministic gradients of the queries cost cuDNN a buffer of 2 bytes for every head, query and key.
/// Parts keep it within that, or at one key head's where that alone is more.
constexpr int64_t kMaxScoreBytes = int64_t{1} << 30;

inline BackwardPart backward_part(const AttentionDesc& desc) {
  const BackwardPart whole{desc.has_documents ? desc.batch : std::min(desc.batch, max_backward_batch(desc)),
                           desc.kv_heads};
  if (!desc.is_deterministic) return whole;
  const int64_t bytes_of_group = 2 * (desc.heads / desc.kv_heads) * round_up<int64_t>(desc.queries, 64) *
                                 round_up<int64_t>(desc.keys, 128);
  const int64_t groups = std::max<int64_t>(1, kMaxScoreBytes / bytes_of_group);
  if (groups < desc.kv_heads) return {1, groups};
  return {std::min(whole.batch, groups / desc.kv_heads), desc.kv_heads};
}

/// cuDNN on the tensor cores where it computes what is asked; decode where reading the keys is all the work;
/// else the tiled kernels. Throws Error for what no kernel takes.
inline AttentionChoice choose_attention_kernel(const AttentionDesc& desc) {
  const bool is_half = desc.dtype == DType::kBF16 || desc.dtype == DType::kF16;
  MG_CHECK(is_half || desc.dtype == DType::kF32,
           "attention on cuda: dtype {} is not supported; allowed: f32, bf16, f16", name_of(desc.dtype));
  MG_CHECK(desc.head_dim <= kMaxAttentionHeadDim, "attention on cuda: head size {}; allowed: up to {}",
           desc.head_dim, kMaxAttentionHeadDim);
  const bool is_decode = !desc.is_backward && desc.queries <= kMaxDecodeQueries;
  if (is_decode && desc.is_aligned && !desc.has_dropout)
    return {AttentionKernel::kDecode, "few queries: reading the keys is all the work"};
  if (!is_half) return {AttentionKernel::kTiled, "f32 throughout"};
  if (desc.has_dropout) return {AttentionKernel::kTiled, "dropout draws our own random words"};
  if (desc.has_documents && desc.head_dim % kDocumentHeadDimMultiple != 0)
    return {AttentionKernel::kTiled, "cuDNN's memory for documents would grow with the longest"};
  if (desc.has_documents && desc.is_backward && desc.head_dim > kMaxDocumentBackwardHeadDim)
    return {AttentionKernel::kTiled, "cuDNN 9.14's gradients of documents with wider heads are wrong"};
  if (desc.has_documents && desc.is_backward && desc.is_deterministic)
    return {AttentionKernel::kTiled,
            "cuDNN's memory for deterministic gradients of documents would be too large"};
  if (desc.has_key_limits && !desc.has_documents)
    return {AttentionKernel::kTiled, "the visible keys differ from query to query"};
  if (desc.has_key_gap && (desc.is_causal || desc.has_window))
    return {AttentionKernel::kTiled, "keys between these and the queries are elsewhere"};
  if (desc.has_window && !desc.is_causal)
    return {AttentionKernel::kTiled, "a window that is open behind the query"};
  if (desc.has_num_keys) return {AttentionKernel::kTiled, "the number of keys is on the device"};
  if (!desc.is_aligned) return {AttentionKernel::kTiled, "rows are not whole 16-byte words"};
  if (desc.head_dim < 32) return {AttentionKernel::kTiled, "heads too small for cuDNN"};
  if (desc.is_backward && max_backward_batch(desc) == 0)
    return {AttentionKernel::kTiled, "cuDNN's gradients of a sequence of more than 2^31 elements are wrong"};
  if (desc.is_backward && desc.keys == 1) return {AttentionKernel::kTiled, "cuDNN takes no single key"};
  return {AttentionKernel::kCudnn, "tensor cores"};
}

}  // namespace megalith::cuda
