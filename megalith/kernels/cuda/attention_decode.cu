// defines: split_decode, launch_attention_decode

#include <algorithm>

#include "megalith/kernels/cuda/attention_decode.h"
#include "megalith/kernels/cuda/device/attention_decode.cuh"
#include "megalith/kernels/cuda/device/early_launch.cuh"

namespace megalith::cuda {
namespace {

constexpr int kThreads = 128;
constexpr int kKeysAtOnce = 4;  // of one group of lanes: their loads are in flight together
constexpr int kMaxRows = 8;     // query rows of one block
constexpr int kBlocksPerSm = 4;
constexpr int kMinKeysPerSplit = 128;
constexpr int kMaxSplits = 1024;

/// kLanes threads read one key row of up to kDim elements, kWords 16-byte words each.
template <class T, int kDim>
struct DecodeShape {
  static constexpr int kLanes = std::min(32, kDim / kVector<T>);
  static constexpr int kWords = kDim / kVector<T> / kLanes;
  static constexpr int kGroups = kThreads / kLanes;
  static constexpr int kValues = kWords * kVector<T>;  // of one row, in one thread
};

// This thread's part of a row: word w of lane l is word w * kLanes + l of the row.
template <class T, int kDim>
__device__ void load_row(const T* row, int head_dim, int lane, uint4 (&words)[DecodeShape<T, kDim>::kWords]) {
  using Shape = DecodeShape<T, kDim>;
#pragma unroll
  for (int w = 0; w < Shape::kWords; ++w) {
    const int begin = (w * Shape::kLanes + lane) * kVector<T>;
    words[w] = row != nullptr && begin < head_dim ? __ldg(reinterpret_cast<const uint4*>(row + begin))
                                                  : make_uint4(0, 0, 0, 0);
  }
}

template <class T, int kDim>
__device__ void unpack_row(const uint4 (&words)[DecodeShape<T, kDim>::kWords],
                           float (&values)[DecodeShape<T, kDim>::kValues]) {
#pragma unroll
  for (int w = 0; w < DecodeShape<T, kDim>::kWords; ++w) {
    float part[kVector<T>];
    unpack<T>(words[w], part);
#pragma unroll
    for (int e = 0; e < kVector<T>; ++e) values[w * kVector<T> + e] = part[e];
  }
}

template <class T, int kDim, int kRows>
__global__ void __launch_bounds__(kThreads)
    decode_kernel(AttentionView args, DecodeSplit split, float* partials) {
  let_next_begin();
  wait_for_last();
  const AttentionView a = with_num_keys(args);
  using Shape = DecodeShape<T, kDim>;
  __shared__ float group_out[Shape::kGroups][kRows][kDim];
  __shared__ float group_largest[Shape::kGroups][kRows], group_total[Shape::kGroups][kRows];
  const int lane = static_cast<int>(threadIdx.x) % Shape::kLanes;
  const int group = static_cast<int>(threadIdx.x) / Shape::kLanes;
  const int b = static_cast<int>(blockIdx.y) / a.kv_heads,
            kv_head = static_cast<int>(blockIdx.y) % a.kv_heads;
  const int num_rows = a.heads / a.kv_heads * a.queries;
  const int first_row = static_cast<int>(blockIdx.z) * kRows;
  const int keys_per_block = keys_per_split(a, split);
  const int first_key = static_cast<int>(blockIdx.x) * keys_per_block;
  const int last_key = min(first_key + keys_per_block, a.keys);

  float q[kRows][Shape::kValues], out[kRows][Shape::kValues] = {};
  float largest[kRows], total[kRows];
  VisibleKeys visible[kRows];
  const float scale = a.scale * kLog2E;
#pragma unroll
  for (int r = 0; r < kRows; ++r) {
    const bool is_row = first_row + r < num_rows;
    const DecodeRow row = decode_row(a, kv_head, is_row ? first_row + r : 0);
    uint4 words[Shape::kWords];
    load_row<T, kDim>(head_base<T>(a.q, b, row.head) + row.query * a.q.token_stride, a.head_dim, lane, words);
    unpack_row<T, kDim>(words, q[r]);
#pragma unroll
    for (int e = 0; e < Shape::kValues; ++e) q[r][e] *= scale;
    visible[r] = is_row ? visible_keys(a, b, row.query) : VisibleKeys{0, 0};
    largest[r] = -INFINITY;
    total[r] = 0;
  }

  const T* k = head_base<T>(a.k, b, kv_head);
  const T* v = head_base<T>(a.v, b, kv_head);
  for (int base = first_key; base < last_key; base += Shape::kGroups * kKeysAtOnce) {
    uint4 k_words[kKeysAtOnce][Shape::kWords], v_words[kKeysAtOnce][Shape::kWords];
#pragma unroll
    for (int u = 0; u < kKeysAtOnce; ++u) {
      const int key = base + u * Shape::kGroups + group;
      load_row<T, kDim>(key < last_key ? k + key * a.k.token_stride : nullptr, a.head_dim, lane, k_words[u]);
      load_row<T, kDim>(key < last_key ? v + key * a.v.token_stride : nullptr, a.head_dim, lane, v_words[u]);
    }
    float scores[kKeysAtOnce][kRows];
#pragma unroll
    for (int u = 0; u < kKeysAtOnce; ++u) {
      const int key = base + u * Shape::kGroups + group;
      float values[Shape::kValues];
      unpack_row<T, kDim>(k_words[u], values);
#pragma unroll
      for (int r = 0; r < kRows; ++r) {
        float sum = 0;
#pragma unroll
        for (int e = 0; e < Shape::kValues; ++e) sum += q[r][e] * values[e];
#pragma unroll
        for (int step = Shape::kLanes / 2; step > 0; step /= 2) sum += __shfl_xor_sync(~0u, sum, step);
        const bool is_visible = key < last_key && key >= visible[r].begin && key < visible[r].end;
        scores[u][r] = is_visible ? sum : -INFINITY;
      }
    }
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      float new_largest = largest[r];
#pragma unroll
      for (int u = 0; u < kKeysAtOnce; ++u) new_largest = fmaxf(new_largest, scores[u][r]);
      const float zero_point = new_largest == -INFINITY ? 0 : new_largest;
      const float factor = exp2f(largest[r] - zero_point);
      largest[r] = new_largest;
      total[r] *= factor;
#pragma unroll
      for (int e = 0; e < Shape::kValues; ++e) out[r][e] *= factor;
#pragma unroll
      for (int u = 0; u < kKeysAtOnce; ++u) {
        scores[u][r] = exp2f(scores[u][r] - zero_point);
        total[r] += scores[u][r];
      }
    }
#pragma unroll
    for (int u = 0; u < kKeysAtOnce; ++u) {
      float values[Shape::kValues];
      unpack_row<T, kDim>(v_words[u], values);
#pragma unroll
      for (int r = 0; r < kRows; ++r)
#pragma unroll
        for (int e = 0; e < Shape::kValues; ++e) out[r][e] += scores[u][r] * values[e];
    }
  }

#pragma unroll
  for (int r = 0; r < kRows; ++r) {
#pragma unroll
    for (int e = 0; e < Shape::kValues; ++e) {
      const int word = e / kVector<T> * Shape::kLanes + lane;
      group_out[group][r][word * kVector<T> + e % kVector<T>] = out[r][e];
    }
    if (lane == 0) group_largest[group][r] = largest[r], group_total[group][r] = total[r];
  }
  __syncthreads();
  const auto part = [&](int p, int r, int d) {
    return d < a.head_dim ? group_out[p][r][d] : group_total[p][r];
  };
  write_decode_part<Shape::kGroups, kRows>(a, split, first_row, num_rows, group_largest, part, partials);
}

// One block a query row. The factor of every split is worked out once, all at the same time.
template <class T>
__global__ void __launch_bounds__(kThreads)
    join_kernel(AttentionView a, DecodeSplit split, const float* partials) {
  let_next_begin();
  wait_for_last();
  __shared__ float factors[kMaxSplits];
  __shared__ float warp_largest[kThreads / 32], warp_total[kThreads / 32];
  const int thread = static_cast<int>(threadIdx.x);
  const int b = static_cast<int>(blockIdx.y) / a.kv_heads,
            kv_head = static_cast<int>(blockIdx.y) % a.kv_heads;
  const DecodeRow row = decode_row(a, kv_head, static_cast<int>(blockIdx.x));
  const int width = a.head_dim + 2;
  const float* parts =
      partials + (static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x) * split.splits * width;

  float largest = -INFINITY;
  for (int s = thread; s < split.splits; s += kThreads) {
    factors[s] = parts[s * width + a.head_dim];
    largest = fmaxf(largest, factors[s]);
  }
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) largest = fmaxf(largest, __shfl_xor_sync(~0u, largest, lane));
  if (thread % 32 == 0) warp_largest[thread / 32] = largest;
  __syncthreads();
  for (int w = 0; w < kThreads / 32; ++w) largest = fmaxf(largest, warp_largest[w]);
  const float zero_point = largest == -INFINITY ? 0 : largest;
  float total = 0;
  for (int s = thread; s < split.splits; s += kThreads) {
    factors[s] = exp2f(factors[s] - zero_point);
    total += factors[s] * parts[s * width + a.head_dim + 1];
  }
#pragma unroll
  for (int lane = 16; lane > 0; lane /= 2) total += __shfl_xor_sync(~0u, total, lane);
  if (thread % 32 == 0) warp_total[thread / 32] = total;
  __syncthreads();
  total = 0;
  for (int w = 0; w < kThreads / 32; ++w) total += warp_total[w];

  T* out = head_base<T>(a.out, b, row.head) + row.query * a.out.token_stride;
  for (int d = thread; d < a.head_dim; d += kThreads) {
    float sum = 0;
#pragma unroll 16
    for (int s = 0; s < split.splits; ++s) sum += factors[s] * parts[s * width + d];
    out[d] = from_acc<T>(total == 0 ? 0 : sum / total);
  }
  if (a.lse != nullptr && thread == 0)
    a.lse[(static_cast<int64_t>(b) * a.heads + row.head) * a.queries + row.query] =
        total == 0 ? -INFINITY : (largest + log2f(total)) * kLn2;
}

template <class T, int kDim, int kRows>
void launch(const AttentionView& a, const DecodeSplit& split, float* partials, cudaStream_t stream) {
  const int num_rows = a.heads / a.kv_heads * a.queries;
  const dim3 grid(split.splits, a.batch * a.kv_heads, (num_rows + kRows - 1) / kRows);
  launch_early(decode_kernel<T, kDim, kRows>, grid, kThreads, 0, stream, a, split, partials);
}

template <class T, int kDim>
void launch_rows(const AttentionView& a, const DecodeSplit& split, float* partials, cudaStream_t stream) {
  const int num_rows = a.heads / a.kv_heads * a.queries;
  if (num_rows == 1) return launch<T, kDim, 1>(a, split, partials, stream);
  if (num_rows == 2) return launch<T, kDim, 2>(a, split, partials, stream);
  if (num_rows <= 4) return launch<T, kDim, 4>(a, split, partials, stream);
  launch<T, kDim, kMaxRows>(a, split, partials, stream);
}

cudaError_t launch_decode_f32(const AttentionView& a, const DecodeSplit& split, float* partials,
                              cudaStream_t stream) {
  if (a.head_dim <= 32) {
    launch_rows<float, 32>(a, split, partials, stream);
  } else if (a.head_dim <= 64) {
    launch_rows<float, 64>(a, split, partials, stream);
  } else if (a.head_dim <= 128) {
    launch_rows<float, 128>(a, split, partials, stream);
  } else {
    launch_rows<float, 256>(a, split, partials, stream);
  }
  return cudaGetLastError();
}

}  // namespace

DecodeSplit split_decode(const AttentionView& view, int sm_count) {
  const int pairs = view.batch * view.kv_heads;
  const int wanted = (kBlocksPerSm * sm_count + pairs - 1) / pairs;
  const int useful = (view.keys + kMinKeysPerSplit - 1) / kMinKeysPerSplit;
  const int splits = std::clamp(wanted, 1, std::clamp(useful, 1, kMaxSplits));
  const int keys_per_split =
      ((view.keys + splits - 1) / splits + kKeysOfSplit - 1) / kKeysOfSplit * kKeysOfSplit;
  return {(view.keys + keys_per_split - 1) / keys_per_split, keys_per_split};
}

cudaError_t launch_attention_decode(const AttentionView& view, const DecodeSplit& split, float* partials,
                                    ElementKind kind, cudaStream_t stream) {
  if (view.head_dim > 256) return cudaErrorInvalidValue;
  const cudaError_t status = kind == ElementKind::kF32
                                 ? launch_decode_f32(view, split, partials, stream)
                                 : launch_decode_half(view, split, partials, kind, stream);
  if (status != cudaSuccess) return status;
  const dim3 grid(view.heads / view.kv_heads * view.queries, view.batch * view.kv_heads);
  auto* join = kind == ElementKind::kF32    ? join_kernel<float>
               : kind == ElementKind::kBF16 ? join_kernel<Bf16>
                                            : join_kernel<__half>;
  return launch_early(join, grid, kThreads, 0, stream, view, split, partials);
}

}  // namespace megalith::cuda
